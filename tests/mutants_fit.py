"""Faults of the checks of a node: of when they are made, and what is told of them."""

from mutation import Mutant


FIT = (
    Mutant(
        name="join before the checks have answered",
        file="agent/fitness.py",
        old='return f"preflight {self.named.name!r} is still under way"',
        new='return ""',
        promise="a node that is not known to be fit gets no place",
        suite="fitness",
    ),
    Mutant(
        name="never tell that a node is fit again",
        file="agent/fitness.py",
        old="            if reason != told:\n",
        new="            if reason != told and reason:\n",
        promise="a node that passes its checks comes in",
        suite="fitness",
    ),
    Mutant(
        name="check a node once and for all",
        file="agent/fitness.py",
        old="            pause = options.retry if problem else options.repeat\n",
        new="            pause = options.retry if problem else 0\n",
        promise="a spare that is not fit any more takes no place",
        suite="fitness",
    ),
    Mutant(
        name="let the others wait for a check that takes long",
        file="agent/fitness.py",
        old="        return since + self.shutdown_timeout + PATIENCE\n",
        new="        return since + 900\n",
        promise="a node whose check takes long is not taken for dead",
        suite="fitness",
    ),
    Mutant(
        name="let a late check go on beside the next",
        file="agent/fitness.py",
        old="                checking.cancel()\n",
        new="",
        promise="a check whose time is over is given up",
        suite="fitness",
    ),
)
