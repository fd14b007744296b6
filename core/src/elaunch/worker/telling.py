"""What a worker can tell its agent of how it goes, and ask of it.

Each costs a few microseconds, waits for nobody, and is nothing where no agent listens.
"""

import contextlib
import itertools
import operator
import os
from types import TracebackType
from typing import Self, SupportsIndex

from elaunch.worker.channel import channel
from elaunch.worker.plain import encoded


NAME_LIMIT = 128
"""Characters kept of a section's name."""

VALUES_LIMIT = 2000
"""Characters of a heartbeat's values: those of one with more are left out."""

LARGEST = 2.0**63
"""The largest number that can be told."""

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
        step_time: Seconds that it took; what is no time, since a clock was set back
            meanwhile, is left out.
        values: Whatever else is worth knowing: numbers and short texts.
    """
    number = None if step is None else operator.index(step)
    seconds = None if step_time is None else float(step_time)
    if not channel.is_due():
        return
    # By hand, since it is said in each step.
    line = '{"kind":"heartbeat"'
    if number is not None:
        line += f',"step":{number}'
    if seconds is not None and 0 <= seconds <= LARGEST:
        line += f',"step_time":{seconds!r}'
    if values:
        told = encoded(values)
        if len(told) < VALUES_LIMIT:
            line += f',"values":{told}'
    channel.beat(line + "}")


class Section(contextlib.ContextDecorator):
    """A block of code that an agent knows of while it runs; see `section`."""

    def __init__(self, name: str, limit: float | None) -> None:
        self._name, self._limit = name, limit
        told = encoded(str(name)[:NAME_LIMIT])
        self._begin = f'{{"kind":"section","name":{told}'
        self._end = f'{{"kind":"section_end","name":{told}'
        if limit is not None:
            seconds = _limit(limit, "section", ", or leave it out for none")
            self._begin += f',"limit":{seconds!r}'
        self._entered: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        """Tell that it begins."""
        pid, token = os.getpid(), next(_tokens)
        self._entered.append((pid, token))
        channel.say(f'{self._begin},"token":{token},"pid":{pid}}}', (pid, token))
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
            channel.say(f'{self._end},"token":{token},"pid":{pid}}}', (pid, -token))

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
    number = float(marker)
    if not -LARGEST <= number <= LARGEST:
        raise ValueError(f"no progress can be {marker!r}; give a number of 64 bits")
    channel.say(f'{{"kind":"progress","marker":{number!r}}}', "progress")


def no_restart(reason: str) -> None:
    """Ask that the next failure on this node ends the job: no restart can help.

    Args:
        reason: Why, for the report of the failure.
    """
    _request("no_restart", reason)


def exclude_node(reason: str) -> None:
    """Ask that the job goes on without this node; its workers are stopped at once.

    Args:
        reason: What is wrong with it, for those who look after it.
    """
    _request("exclude_node", reason)


class Hold:
    """A context at whose end this worker holds up no scaling; see `hold_scaling`."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __enter__(self) -> Self:
        """Do nothing: it holds already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release it, but not where a process that was forked inside leaves it."""
        if self._pid == os.getpid():
            release_scaling()


def hold_scaling(seconds: float) -> Hold:
    """Ask that the job forms anew for no nodes that join before this is released.

        with hold_scaling(600):
            save()

    Losses, failures, drains and restarts wait for nobody. Asked again, it lasts as long
    as is asked for then.

    Args:
        seconds: For how long at most.

    Returns:
        A context that releases it at its end, for who wants one.

    Raises:
        ValueError: If that is no time.
    """
    limit = _limit(seconds, "hold")
    channel.take_back("hold_scaling")  # what is said now comes after what waits
    channel.say(f'{{"kind":"hold_scaling","limit":{limit!r}}}', "hold_scaling")
    return Hold()


def release_scaling() -> None:
    """Let nodes that wait come in now, as far as this worker is concerned."""
    channel.take_back("hold_scaling")
    channel.take_back("release_scaling")
    channel.say('{"kind":"release_scaling"}', "release_scaling")


def _request(kind: str, reason: str) -> None:
    told = encoded(str(reason)[:REASON_LIMIT])
    channel.say(f'{{"kind":"{kind}","reason":{told}}}', kind)


def _limit(seconds: float, what: str, otherwise: str = "") -> float:
    if not 0 < seconds <= LARGEST:
        remedy = f"give seconds above 0 and up to 2**63{otherwise}"
        raise ValueError(f"no {what} can have a limit of {seconds!r}; {remedy}")
    return float(seconds)
