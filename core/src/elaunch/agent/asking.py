"""What workers ask for beyond a restart, and the failures that carry it. Pure."""

import attrs

from elaunch.agent.messages import Asked
from elaunch.failures import Ending, ProcessFailure


UNHEALTHY_EXIT = 0
"""Exit code reported for a worker that was alive but unhealthy: it has none."""


def attached(failure: ProcessFailure, asked: Asked | None) -> ProcessFailure:
    """Return a failure with what a worker of its node asked for, if one did.

    That no restart can help is more than anything else that can be asked for.
    """
    if asked is None:
        return failure
    it = failure.local_rank == asked.local_rank
    who = "it" if it else f"local rank {asked.local_rank}"
    said = f"{who} asked for no restart{_why(asked)}"
    return attrs.evolve(
        failure,
        request=asked.request,
        context="; ".join(filter(None, (failure.context, said))),
    )


def asking_failure(asked: Asked, *, rank: int, role: str, host: str) -> ProcessFailure:
    """Return the failure that a request is by itself."""
    return ProcessFailure(
        rank=rank,
        local_rank=asked.local_rank,
        role=role,
        host=host,
        pid=asked.pid,
        exitcode=UNHEALTHY_EXIT,
        timestamp=asked.timestamp,
        ending=Ending.UNHEALTHY,
        message=f"asked to exclude its node{_why(asked)}",
        request=asked.request,
    )


def _why(asked: Asked) -> str:
    return f": {asked.reason}" if asked.reason else ""
