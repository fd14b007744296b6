"""Where live workers are: their stacks, written to a file for each.

py-spy reads them from outside, also of a process that is stopped, and needs no
preparation; where it is not installed or not allowed, the worker is asked by a signal
(`stack_signal`), for which one that is stopped goes on for a moment. Nothing here
blocks the loop or outlasts the time that it is given.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from elaunch_spawn_local.processes import (
    command_line,
    descendants,
    state,
    status_field,
)
from elaunch_spawn_local.worker import STACK_SIGNAL


_COLLECTING = 0.8
"""Part of the time after which what there is is written down."""

_SPYING = 0.5
"""Part of the time that py-spy has: on a busy node the signal may be what is left."""

_LOOK_AGAIN = 0.02
_DISK_PATIENCE = 0.5
_NOT_RUNNING = ("", "T", "t", "Z", "X")


@attrs.frozen
class Target:
    """A worker to be looked at.

    Attributes:
        local_rank: Its rank on this node.
        rank: Its global rank.
        pid: Its leading process.
        file: Where it writes on the signal; not there if nothing of it is prepared.
    """

    local_rank: int
    rank: int
    pid: int
    file: Path


@attrs.frozen
class _How:
    """How processes are looked at.

    Attributes:
        spy: py-spy, if it is there.
        spying: Until when it is tried.
        deadline: Until when anything is.
    """

    spy: str | None
    spying: float
    deadline: float


async def write_stacks(
    targets: Sequence[Target], directory: Path, seconds: float
) -> dict[int, str]:
    """Write a file for each worker, in so many seconds.

    Returns:
        Their paths, by local rank; none if the time is over.

    Raises:
        OSError: If they can't be written.
    """
    spy = py_spy()
    loop = asyncio.get_running_loop()
    begin = loop.time()
    how = _How(spy, begin + seconds * _SPYING, begin + seconds * _COLLECTING)
    looks = [asyncio.create_task(_look(each, how)) for each in targets]
    try:
        async with asyncio.timeout(seconds):
            texts = await asyncio.gather(*looks)
            return await asyncio.to_thread(_write, directory, targets, texts)
    except TimeoutError:
        return {}
    finally:
        for look in looks:
            look.cancel()


def py_spy() -> str | None:
    """Return the program, if it is installed."""
    beside = Path(sys.executable).with_name("py-spy")
    return shutil.which("py-spy") or (str(beside) if beside.exists() else None)


async def _look(target: Target, how: _How) -> str:
    """Return what there is to say of a worker and the processes below it."""
    below = await asyncio.to_thread(descendants, target.pid)
    parts = []
    for pid in (target.pid, *below):
        head = await asyncio.to_thread(_head, target.rank, pid)
        body = await _stacks_of(pid, target.file, how)
        parts.append(f"{head}\n{body}\n")
    return "\n".join(parts)


async def _stacks_of(pid: int, file: Path, how: _How) -> str:
    try:
        async with asyncio.timeout_at(how.deadline):
            if text := await _spied(pid, how):
                return f"stacks by py-spy:\n{text}"
            if await asyncio.to_thread(_can_be_asked, pid, file):
                return await _by_signal(pid, file)
    except TimeoutError:
        return "no stacks: the time is over"
    kernel = await asyncio.to_thread(_kernel_stack, pid)
    return f"no stacks of Python{kernel}"


async def _spied(pid: int, how: _How) -> str:
    """Return what py-spy shows in the time that it has, or empty."""
    if how.spy and asyncio.get_running_loop().time() < how.spying:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(how.spying):
                return await _by_py_spy(how.spy, pid)
    return ""


async def _by_py_spy(spy: str, pid: int) -> str:
    """Return its stacks as py-spy shows them, or empty if it can't."""
    process = await asyncio.create_subprocess_exec(
        spy,
        "dump",
        # Reads the memory of a running process: nothing is held up, not even by itself.
        "--nonblocking",
        "--pid",
        str(pid),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    return output.decode(errors="replace").strip() if process.returncode == 0 else ""


async def _by_signal(pid: int, file: Path) -> str:
    """Return what a process writes to the file when it is asked."""
    begin = await asyncio.to_thread(_size, file)
    if not _send(pid, STACK_SIGNAL):
        return "no stacks: the process is gone"
    with _going_on(pid):
        obstacle = await _quiet(pid, file, begin)
    if obstacle:
        return f"no stacks: {obstacle}"
    return f"stacks by faulthandler:\n{await asyncio.to_thread(_tail, file, begin)}"


@contextlib.contextmanager
def _going_on(pid: int) -> Iterator[None]:
    """Let a process go on that a signal has stopped; then it is stopped again."""
    stopped = status_field(pid, "State").startswith("T")
    if not stopped:
        yield
        return
    _send(pid, signal.SIGCONT)
    try:
        yield
    finally:
        _send(pid, signal.SIGSTOP)


async def _quiet(pid: int, file: Path, begin: int) -> str:
    """Wait until something was written and nothing more comes, or return why not.

    faulthandler does not say when it is done.
    """
    loop = asyncio.get_running_loop()
    size, awake = begin, loop.time()
    while True:
        await asyncio.sleep(_LOOK_AGAIN)
        now = await asyncio.to_thread(_size, file)
        if begin < now == size:
            return ""
        size = now
        condition = status_field(pid, "State")[:1]
        if condition in _NOT_RUNNING:
            return "the process does not run"
        if condition != "D":
            awake = loop.time()
        elif loop.time() > awake + _DISK_PATIENCE:
            return "the process waits in the kernel and does not answer"


def _can_be_asked(pid: int, file: Path) -> bool:
    # Without the file the handler is that of a program which means something else.
    return file.exists() and _listens(pid)


def _listens(pid: int) -> bool:
    """Whether a process has a handler for the signal, which would end it otherwise."""
    caught = status_field(pid, "SigCgt")
    try:
        return bool(STACK_SIGNAL and int(caught, 16) >> (STACK_SIGNAL - 1) & 1)
    except ValueError:
        return False


def _send(pid: int, signum: int) -> bool:
    """Signal a process that knows the signal for stacks; tell whether it does."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # Once more: by the descriptor it is known to be the process that is signalled.
        if not _listens(pid):
            return False
        signal.pidfd_send_signal(descriptor, signum)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _head(rank: int, pid: int) -> str:
    facts = f"rank {rank}, pid {pid}: {command_line(pid) or 'its command is hidden'}"
    return f"{facts}\nstate: {state(pid) or 'gone'}"


def _kernel_stack(pid: int) -> str:
    """Return where it is in the kernel, which only root may know, with a heading."""
    try:
        stack = Path(f"/proc/{pid}/stack").read_text()
    except OSError:
        return ""
    return f"; in the kernel:\n{stack.strip()}" if stack.strip() else ""


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _tail(file: Path, begin: int) -> str:
    try:
        return file.read_bytes()[begin:].decode(errors="replace").strip()
    except OSError:
        return ""


def _write(
    directory: Path, targets: Sequence[Target], texts: Sequence[str]
) -> dict[int, str]:
    directory.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    paths = {}
    for target, text in zip(targets, texts, strict=True):
        path = directory / f"rank-{target.rank}.txt"
        path.write_text(text, encoding="utf-8", errors="replace")
        paths[target.local_rank] = str(path)
    return paths
