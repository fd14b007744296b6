"""The directories of a run's generations: chosen by all agents alike, kept while used.

In each is a file `LAUNCH` that says which launch of the job made it: a launch uses the
directories that are its own, and makes another where a generation with this number is
an earlier launch's. Each agent holds a lock on that file for as long as it writes to
the directory, and what somebody holds is not removed.
"""

import contextlib
import fcntl
import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import attrs


logger = logging.getLogger(__name__)

LAUNCH = ".launch"

_GENERATION = re.compile(r"(\d+)(?:\.(\d+))?")


@attrs.frozen
class Claimed:
    """A generation's directory with those of some ranks in it.

    Attributes:
        path: The directory.
        lock: Descriptor that keeps it from being removed until it is closed.
    """

    path: Path
    lock: int


def claim(run: Path, number: str, ranks: Sequence[str], launch: str) -> Claimed:
    """Make the directories of some ranks in a generation; may wait for a removal.

    Args:
        run: Directory of the run.
        number: Number of the generation.
        ranks: The ranks, of which each is claimed once in a directory.
        launch: The same for all agents of a launch, another for every other launch.

    Raises:
        OSError: If they can't be made.
    """
    while True:
        there = _again(run, number)
        for again in there:
            joined = _join(run / _name(number, again), ranks, launch)
            if joined:
                return joined
        path = run / _name(number, there[-1] + 1 if there else 0)
        made = _make(path, ranks, launch)
        if made:
            return made


def forget(run: Path, keep: int, current: str) -> None:
    """Remove all generations of a run but the last ones, the current, and used ones."""
    aged: list[tuple[int, str]] = []
    for entry in os.scandir(run):
        # Another agent may remove the same at the same time.
        with contextlib.suppress(FileNotFoundError):
            if _GENERATION.fullmatch(entry.name) and entry.is_dir(
                follow_symlinks=False
            ):
                aged.append((entry.stat().st_mtime_ns, entry.name))
    others = [name for _, name in sorted(aged) if name != current]
    for name in others[: max(0, len(others) - (keep - 1))]:
        try:
            _remove(run / name)
        except BlockingIOError:
            logger.info("%s is kept: it is still written to", run / name)
        except FileNotFoundError:  # another agent was first, or it is not ours
            continue
        except OSError as error:
            logger.warning("can't remove old logs: %s", error)


def _name(number: str, again: int) -> str:
    return f"{number}.{again}" if again else number


def _again(run: Path, number: str) -> list[int]:
    """Return how often a generation came again: 0 for the first time, and so on."""
    found = map(_GENERATION.fullmatch, os.listdir(run))  # noqa: PTH208 - names alone
    return sorted(int(f[2] or 0) for f in found if f and f[1] == number)


def _join(path: Path, ranks: Sequence[str], launch: str) -> Claimed | None:
    """Claim ranks in a directory if it is of this launch, and they are free."""
    with contextlib.ExitStack() as undo:
        try:
            lock = os.open(path / LAUNCH, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        undo.callback(os.close, lock)
        _lock(lock, fcntl.LOCK_SH)
        if not _is_at(lock, path / LAUNCH):  # it was just removed
            return None
        if os.pread(lock, 4096, 0).decode() != launch:
            return None
        for rank in ranks:
            try:
                (path / rank).mkdir()
            except FileExistsError:
                return None
            undo.callback((path / rank).rmdir)
        undo.pop_all()
        return Claimed(path, lock)


def _make(path: Path, ranks: Sequence[str], launch: str) -> Claimed | None:
    """Make a directory, unless another agent does so first."""
    new = path.with_name(f".new-{os.urandom(8).hex()}")
    new.mkdir()
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, new, ignore_errors=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        lock = os.open(new / LAUNCH, flags, 0o666)
        undo.callback(os.close, lock)
        os.write(lock, launch.encode())
        _lock(lock, fcntl.LOCK_SH)
        for rank in ranks:
            (new / rank).mkdir()
        if path.exists():
            return None
        try:
            # In one step: who sees it sees whose it is, and that it is used.
            new.rename(path)
        except OSError:
            if path.exists():
                return None
            raise
        undo.pop_all()
        return Claimed(path, lock)


def _remove(path: Path) -> None:
    """Remove a directory.

    Raises:
        BlockingIOError: If somebody uses it.
        OSError: If it can't be told whether somebody does, or it is gone.
    """
    lock = os.open(path / LAUNCH, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        old = path.with_name(f".old-{os.urandom(8).hex()}")
        path.rename(old)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        os.close(lock)


def _lock(fd: int, operation: int) -> None:
    try:
        fcntl.flock(fd, operation)
    except OSError as error:
        # Such a file system refuses it to who would remove the directory, too.
        logger.info("no lock: %s; old logs are not removed", error)


def _is_at(fd: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(fd), path.stat())
    return False
