"""Control groups of their own for tests, where this machine and user can make them."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elaunch_spawn_local.oom import memory_group


SOON = 60.0
FREEZER = Path("/sys/fs/cgroup/freezer")


@contextlib.contextmanager
def memory_limit(name: str, size: int) -> Iterator[Path]:
    """Make a group whose processes have so many bytes; skip where that can't be."""
    above = memory_group()
    if above is None or above.unified:
        pytest.skip("no control groups of version 1 with memory are mounted here")
    with _group(above.directory, name) as directory:
        (directory / "memory.limit_in_bytes").write_text(str(size))
        yield directory


@contextlib.contextmanager
def frozen(name: str, pid: int) -> Iterator[None]:
    """Freeze a process, so that not even SIGKILL ends it; thaw it at the end."""
    if not (FREEZER / "tasks").exists():
        pytest.skip("no freezer of version 1 is mounted here")
    with _group(FREEZER, name) as directory:
        (directory / "cgroup.procs").write_text(str(pid))
        (directory / "freezer.state").write_text("FROZEN")
        try:
            _await(directory / "freezer.state", "FROZEN")
            yield
        finally:
            (directory / "freezer.state").write_text("THAWED")


@contextlib.contextmanager
def _group(above: Path, name: str) -> Iterator[Path]:
    directory = above / f"elaunch-test-{name}-{os.getpid()}"
    try:
        directory.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield directory
    finally:
        for pid in (directory / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _remove(directory)


def _remove(directory: Path) -> None:
    # The kernel lets the last of the dead go a moment after they were reaped.
    deadline = time.monotonic() + SOON
    while True:
        try:
            directory.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            os.sched_yield()
        else:
            return


def _await(file: Path, word: str) -> None:
    deadline = time.monotonic() + SOON
    while file.read_text().strip() != word:
        assert time.monotonic() < deadline, f"{file} never says {word!r}"
        os.sched_yield()
