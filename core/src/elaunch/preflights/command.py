"""The check ``command``: a command of the user says whether the node is fit."""

import asyncio
import os
import shlex
from collections.abc import Mapping, Sequence

import attrs

from elaunch.api import (
    PreflightContext,
    PreflightParameters,
    PreflightResult,
    inherited_environment,
)
from elaunch.events import Value
from elaunch.failures import signal_name
from elaunch.preflights.options import CommandOptions
from elaunch.preflights.process_run import Ended, ProcessRun
from elaunch.text import printable
from elaunch.threads import begin


VARIABLES: Mapping[str, str] = {
    "ELAUNCH_PREFLIGHT_GENERATION": (
        "for the command of `--preflight command:run=...`: the last generation that "
        "the node was a member of; 0 before the first"
    ),
    "ELAUNCH_PREFLIGHT_ATTEMPT": (
        "likewise: how often it has run for the next generation, this time included"
    ),
}
"""What the command gets beside the agent's environment and ``ELAUNCH_RUN_ID``."""

KILL_PATIENCE = 1.0
"""Seconds that the end of a killed command is waited for: it may hold a device."""

LONGEST_REASON = 200
"""Characters of its output that become the reason."""


@attrs.define(eq=False)
class Command:
    """Runs the command and takes its exit code for the answer.

    Attributes:
        options: What is asked of it.
        params: What every check is built with.
    """

    options: CommandOptions
    params: PreflightParameters
    _last: "tuple[ProcessRun, asyncio.Future[Ended]] | None" = attrs.field(
        default=None, init=False
    )

    async def check(self, context: PreflightContext) -> PreflightResult:
        """Run it; cancelled, it is killed with everything that it has started."""
        if self._last and not self._last[1].done():
            pid = self._last[0].pid
            return PreflightResult(problem=f"can't be killed (pid {pid}), so not run")
        words = shlex.split(self.options.run)
        environment = {
            **inherited_environment(os.environ),
            "ELAUNCH_RUN_ID": self.params.run_id,
            "ELAUNCH_PREFLIGHT_GENERATION": str(context.generation),
            "ELAUNCH_PREFLIGHT_ATTEMPT": str(context.attempt),
        }
        run = ProcessRun(words, environment)
        ending = begin(run.to_end)
        self._last = run, ending
        try:
            ended = await asyncio.shield(ending)
        except OSError as error:
            why = error.strerror or type(error).__name__
            return PreflightResult(problem=f"{words[0]!r} can't be run: {why}")
        finally:
            run.kill()
            await asyncio.wait((ending,), timeout=KILL_PATIENCE)
        return _result(words, ended)


def _result(words: Sequence[str], ended: Ended) -> PreflightResult:
    lines = [line for line in map(printable, ended.output.splitlines()) if line.strip()]
    last = lines[-1].strip()[:LONGEST_REASON] if lines else ""
    code = ended.exitcode
    facts: dict[str, Value] = {"exitcode": code, "output": last}
    if code == 0:
        return PreflightResult(facts=facts)
    how = f"was ended by {signal_name(-code)}" if code < 0 else f"ended with {code}"
    problem = f"{words[0]!r} {how}"
    problem = f"{problem}: {last}" if last else problem
    return PreflightResult(problem=problem, facts=facts)
