"""The command line. Only argparse here: a subcommand imports what it needs to run."""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from elaunch import standard_streams
from elaunch.cli import early, garbage
from elaunch.cli.control import COMMANDS
from elaunch.cli.parser import EXPLAIN, OWN, parse


if TYPE_CHECKING:
    from elaunch.errors import ElaunchError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; ``docs/exit-codes.md``."""
    if argv is None:
        return _as_process(sys.argv[1:], "elaunch run")
    _open_closed()
    return _run(argv, "elaunch run")


def erun() -> int:
    """Run the command ``erun``, which is ``elaunch run`` in one word."""
    return run_as("erun", sys.argv[1:])


def run_as(prog: str, words: Sequence[str], *, legacy: bool = False) -> int:
    """Run ``elaunch run`` under another name, as all that this process does.

    Args:
        prog: The name.
        words: What follows it.
        legacy: Whether scripts are given their local rank, unless ``--use-env`` is.
    """
    return _as_process(["run", *words], prog, legacy=legacy)


def _as_process(words: Sequence[str], prog: str, *, legacy: bool = False) -> int:
    """Run the command line as all that this process does."""
    _open_closed()
    if words[:1] == ["run"]:
        early.begin()
    try:
        return _run(words, prog, legacy=legacy)
    except early.Ended as ended:
        return _tell(_end_by(ended.number))
    finally:
        early.end()


def _run(words: Sequence[str], prog: str, *, legacy: bool = False) -> int:
    verbose = False
    try:
        if words[:1] in (["run"], ["explain"]):
            garbage.begin()
            from elaunch.cli.settings import resolve

            typed = EXPLAIN if words[0] == "explain" else prog
            resolved = resolve(words[1:], os.environ, typed, legacy=legacy)
            verbose = resolved.args.verbose
            from elaunch.cli.run import run

            return run(resolved, only_explain=typed == EXPLAIN)
        if words and words[0] not in OWN and not words[0].startswith("-"):
            from elaunch.cli.contributed import run_contributed

            return run_contributed(words[0], words[1:])
        args = parse(words)
        verbose = getattr(args, "verbose", False)
        return _tell_small(args)
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except Exception as error:
        from elaunch.errors import ElaunchError

        if not isinstance(error, ElaunchError):
            raise
        if verbose:
            import traceback

            traceback.print_exc()
        return _tell(error)


def _tell_small(args: argparse.Namespace) -> int:
    """Run a command that launches nothing, for whoever reads what it tells."""
    try:
        status = _run_small(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # He has read enough; the interpreter would complain at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    return status


def _run_small(args: argparse.Namespace) -> int:
    if args.command in COMMANDS:
        from elaunch.cli import agents

        return agents.run(args)
    if args.command == "completion":
        from elaunch.cli import completion

        return completion.show(args.shell)
    if args.command == "replay":
        from elaunch.cli import replay

        return replay.show(args)
    if args.command == "beat":
        from elaunch.cli import beat

        return beat.beat(args, os.environ)
    from elaunch.cli.backends import names
    from elaunch.cli.plugins import show

    return show(
        as_json=args.json, tracebacks=args.verbose, block=names(args.block_plugins)
    )


def _tell(error: "ElaunchError") -> int:
    """Say how the command ended and return its exit status."""
    from elaunch.errors import NodeDrained, Preempted, SignalException

    if isinstance(error, Preempted):
        _say(f"preempted: {error}")
    elif isinstance(error, NodeDrained):
        _say(str(error))
    else:
        stopped = isinstance(error, SignalException)
        told = " ".join([str(error), *(f"({note})" for note in _notes(error))])
        _say(told if stopped else f"error: {told}")
    return error.status


def _notes(error: BaseException) -> Sequence[str]:
    return getattr(error, "__notes__", ())


def _end_by(number: int) -> "ElaunchError":
    """Return how an agent ends by a signal."""
    from elaunch.errors import Preempted, SignalException
    from elaunch.signals import PREEMPTION_SIGNAL

    stopped = SignalException(number)
    return Preempted(str(stopped)) if number == PREEMPTION_SIGNAL else stopped


def _open_closed() -> None:
    """Let there be standard streams, also where the user closed them."""
    standard_streams.open_closed()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            null = open(os.devnull, "w")  # noqa: PTH123, SIM115 - pathlib takes longer; it stays
            setattr(sys, name, null)


def _say(text: str) -> None:
    from elaunch.text import printable

    # Another node, or a worker, may have a part in it.
    shown = "\n".join(map(printable, text.split("\n")))
    # Nobody may read either of them; the exit status tells all the same.
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        sys.stderr.write(f"elaunch: {shown}\n")
        sys.stderr.flush()
