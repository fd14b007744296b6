"""Notices to the workers of a group: a file for each, and a signal for who handles it.

A signal that a process does not handle would end it, and workers are often wrapped in a
shell or in another launcher. So the system is asked who handles it; where it does not
tell, the file is all that workers get.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from elaunch.api import Notice, NoticeKind
from elaunch_spawn_local.worker import Worker


NOTICE_FILE = "ELAUNCH_NOTICE_FILE"
"""Variable that tells a worker where its notices appear."""

ASKED = ".asked"
"""Suffix of the file by which a worker says that it looks for notices."""

_PROC = Path("/proc")

logger = logging.getLogger(__name__)


@attrs.define(eq=False, repr=False)
class Notices:
    """Tells the workers of one group, one notice after the other.

    Attributes:
        signum: Signal that tells them of a preemption, `None` for none.
    """

    signum: int | None
    _told: bool = attrs.field(default=False, init=False)
    _turn: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)

    async def warn(
        self, notice: Notice, files: Mapping[int, Path]
    ) -> tuple[int, list[int]]:
        """Let workers know that they are being stopped.

        Returns:
            The signal that went out and to which processes; 0 and the workers where
            only the files tell them.
        """
        pids = await self.tell(notice, files, again=False)
        return (self.signum or 0, pids) if pids else (0, list(files))

    async def tell(
        self, notice: Notice, files: Mapping[int, Path], *, again: bool = True
    ) -> list[int]:
        """Let workers know of a notice.

        Args:
            notice: What they are told.
            files: File for the notices of each worker, by the process that leads its
                process group.
            again: Whether workers that know of a preemption get the signal once more.

        Returns:
            The processes that were sent the signal.
        """
        async with self._turn:
            signum = None
            if notice.kind is NoticeKind.PREEMPTION:
                signum = self.signum if again or not self._told else None
                self._told = True
            return await asyncio.to_thread(_tell, notice, files, signum)

    async def patient(
        self, notice: Notice | None, workers: Sequence[Worker]
    ) -> list[Worker]:
        """Return the workers that look for notices, where a preemption is one."""
        if notice is None or notice.kind is not NoticeKind.PREEMPTION:
            return []
        return await asyncio.to_thread(_who_look, workers)


def _who_look(workers: Sequence[Worker]) -> list[Worker]:
    return [w for w in workers if Path(f"{w.notice_file}{ASKED}").exists()]


def _tell(notice: Notice, files: Mapping[int, Path], signum: int | None) -> list[int]:
    text = json.dumps(attrs.asdict(notice))
    for path in files.values():
        try:
            write_whole(path, text)
        except OSError as error:
            logger.warning("can't leave a notice for a worker: %s", error)
    return signal_handlers(files, signum) if signum is not None else []


def write_whole(path: Path, text: str) -> None:
    """Replace a file as a whole: who reads it sees all of the text or what was before.

    Raises:
        OSError: If it can't be written.
    """
    draft = path.with_name(f"{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def signal_handlers(groups: Collection[int], signum: int) -> list[int]:
    """Signal the processes that handle the signal; blocks for some milliseconds.

    Args:
        groups: Ids of the process groups that they are in.
        signum: The signal.
    """
    if sys.platform != "linux":
        return []
    return [pid for pid in _members(groups) if _signal(pid, groups, signum)]


def _members(groups: Collection[int]) -> Iterator[int]:
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and _group_of(int(entry.name)) in groups:
            yield int(entry.name)


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _signal(pid: int, groups: Collection[int], signum: int) -> bool:
    """Signal a process if it handles the signal; tell whether it does."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # Looked at while it is held: nobody else can have got its id since.
        if _group_of(pid) not in groups or not handles(pid, signum):
            return False
        signal.pidfd_send_signal(process, signum)
    except OSError:
        return False
    finally:
        os.close(process)
    return True


def handles(pid: int, signum: int) -> bool:
    """Whether a process has a handler for a signal; needs Linux."""
    return bool(_mask(pid) >> (signum - 1) & 1)


def _mask(pid: int) -> int:
    try:
        lines: Sequence[str] = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0
    name = "SigCgt:"
    found = (line.removeprefix(name) for line in lines if line.startswith(name))
    return int(next(found, "0"), 16)
