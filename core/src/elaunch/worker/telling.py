"""What a worker can tell its agent of how it goes, and ask of it.

Each costs a few microseconds, waits for nobody, and is nothing where no agent listens.
"""

import contextlib
import itertools
import math
import operator
import os
from types import TracebackType
from typing import Self, SupportsIndex

from elaunch.worker.channel import channel


NAME_LIMIT = 128
"""Characters kept of a section's name."""

REASON_LIMIT = 1000
"""Characters kept of a reason."""

_tokens = itertools.count(1)


def heartbeat(
    step: SupportsIndex | None = None,
    step_time: float | None = None,
    **values: object,
) -> None:
    """Say that this worker goes on; call it after each step.

    Args:
        step: Number of the step that is over.
        step_time: Seconds that it took.
        values: Whatever else is worth knowing: numbers and short texts.
    """
    number = None if step is None else operator.index(step)

    def message() -> dict[str, object]:
        told: dict[str, object] = {"kind": "heartbeat"}
        if number is not None:
            told["step"] = number
        if step_time is not None:
            told["step_time"] = step_time
        if values:
            told["values"] = values
        return told

    channel.beat(message)


class Section(contextlib.ContextDecorator):
    """A block of code that an agent knows of while it runs; see `section`."""

    def __init__(self, name: str, limit: float | None) -> None:
        self._name = str(name)[:NAME_LIMIT]
        self._limit = None if limit is None else _limit(limit)
        self._entered: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        """Tell that it begins."""
        pid, token = os.getpid(), next(_tokens)
        self._entered.append((pid, token))
        limit = {} if self._limit is None else {"limit": self._limit}
        channel.say(
            (pid, token), kind="section", name=self._name, token=token, pid=pid, **limit
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell that it is over."""
        pid, token = self._entered.pop()
        # A process that was forked inside leaves it, too, and it is not its own.
        if pid == os.getpid() and not channel.take_back((pid, token)):
            channel.say(kind="section_end", name=self._name, token=token, pid=pid)

    def _recreate_cm(self) -> "Section":
        """As a decorator: one for each call, since calls may overlap."""
        return Section(self._name, self._limit)


def section(name: str, limit: float | None = None) -> Section:
    """Return a context, or a decorator, that names what this worker does meanwhile.

        with section("checkpoint", limit=600):
            save()

    Args:
        name: For example ``data``, ``step`` or ``checkpoint``.
        limit: Seconds that it may take: after that the worker counts as hung. `None`
            leaves that to the monitors.

    Raises:
        ValueError: If the limit is no time.
    """
    return Section(name, limit)


def expires(seconds: float) -> Section:
    """Return a context that must be left in so many seconds, or the worker is hung.

    Raises:
        ValueError: If that is no time.
    """
    return Section("", seconds)


def progress(marker: float) -> None:
    """Say how far the job is: a restart begins there, for example after a checkpoint.

    Args:
        marker: A number that grows, for example that of the step that was saved.

    Raises:
        ValueError: If it is no finite number.
    """
    number: float = marker
    with contextlib.suppress(TypeError):  # it stays whole
        number = operator.index(marker)  # type: ignore[arg-type] # a float has none
    if not math.isfinite(number):
        raise ValueError(f"no progress can be {marker!r}; give a finite number")
    channel.say(kind="progress", marker=number)


def no_restart(reason: str) -> None:
    """Ask that the next failure on this node ends the job: no restart can help.

    Args:
        reason: Why, for the report of the failure.
    """
    channel.say(kind="no_restart", reason=str(reason)[:REASON_LIMIT])


def exclude_node(reason: str) -> None:
    """Ask that the job goes on without this node; its workers are stopped at once.

    Args:
        reason: What is wrong with it, for those who look after it.
    """
    channel.say(kind="exclude_node", reason=str(reason)[:REASON_LIMIT])


def _limit(seconds: float) -> float:
    if not 0 < seconds < math.inf:
        raise ValueError(
            f"no section can have a limit of {seconds!r}; give seconds above 0, or "
            f"leave it out for none"
        )
    return float(seconds)
