"""Failures of workers that live: what monitors find, and what workers ask for. Pure."""

from typing import Any

import attrs

from elaunch.agent.messages import Asked, Found
from elaunch.failures import STACK_FILES, Ending, ProcessFailure


UNHEALTHY_EXIT = 0
"""Exit code reported for a worker that was alive but unhealthy: it has none."""


@attrs.frozen(kw_only=True)
class Node:
    """The node whose workers they are.

    Attributes:
        role: Its role.
        host: Its host name.
        base_rank: Global rank of its first worker.
    """

    role: str
    host: str
    base_rank: int

    def found(self, found: Found) -> ProcessFailure:
        """Return the failure that a finding is."""
        finding = found.finding
        return self._failure(
            finding.local_rank,
            pid=found.pid,
            timestamp=found.timestamp,
            message=f"unhealthy: {finding.reason}",
            monitor=found.monitor,
            request=finding.request,
            stacks=found.stacks[:STACK_FILES],
            uptime=found.uptime,
        )

    def asked(self, asked: Asked) -> ProcessFailure:
        """Return the failure that a request is by itself."""
        return self._failure(
            asked.local_rank,
            pid=asked.pid,
            timestamp=asked.timestamp,
            message=f"asked to exclude its node{_why(asked)}",
            request=asked.request,
        )

    def _failure(self, local_rank: int | None, **facts: Any) -> ProcessFailure:
        """Return a failure of a worker that lives, or of the node."""
        return ProcessFailure(
            rank=-1 if local_rank is None else self.base_rank + local_rank,
            local_rank=-1 if local_rank is None else local_rank,
            role=self.role,
            host=self.host,
            exitcode=UNHEALTHY_EXIT,
            ending=Ending.UNHEALTHY,
            **facts,
        )


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


def _why(asked: Asked) -> str:
    return f": {asked.reason}" if asked.reason else ""
