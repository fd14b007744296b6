"""Exit watchers: learn of a child's end as it happens, and leave it unreaped.

Unreaped, because as long as the dead child is there nobody else gets its process id,
so that what is left of its process group can be signalled without a doubt.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Protocol

import attrs


class ExitWatcher(Protocol):
    """Watches child processes of this process."""

    def watch(self, pid: int, on_exit: Callable[[], None]) -> None:
        """Call ``on_exit`` once, in the loop's thread, when the child has ended.

        Raises:
            OSError: If the system lacks the means to watch one more.
        """

    def close(self) -> None:
        """Forget the children that are still watched. Twice is fine."""


@attrs.define(eq=False)
class PidfdWatcher:
    """Watches by pidfd: one file descriptor for each child, no thread."""

    _loop: asyncio.AbstractEventLoop
    _fds: set[int] = attrs.field(factory=set, init=False)

    @staticmethod
    def available() -> bool:
        """Tell whether this system has pidfds (Linux 5.3, and not forbidden)."""
        if sys.platform != "linux":
            return False
        try:
            os.close(os.pidfd_open(os.getpid()))
        except OSError:
            return False
        return True

    def watch(self, pid: int, on_exit: Callable[[], None]) -> None:
        """Call ``on_exit`` when the child has ended."""
        fd = os.pidfd_open(pid)
        self._fds.add(fd)
        self._loop.add_reader(fd, self._readable, fd, on_exit)

    def close(self) -> None:
        """Forget the children that are still watched."""
        while self._fds:
            self._release(self._fds.pop())

    def _readable(self, fd: int, on_exit: Callable[[], None]) -> None:
        self._fds.discard(fd)
        self._release(fd)
        on_exit()

    def _release(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        os.close(fd)


@attrs.define(eq=False)
class ThreadWatcher:
    """Watches by one blocked thread for each child, where there are no pidfds."""

    _loop: asyncio.AbstractEventLoop
    _closed: bool = attrs.field(default=False, init=False)

    def watch(self, pid: int, on_exit: Callable[[], None]) -> None:
        """Call ``on_exit`` when the child has ended."""

        def told() -> None:
            if not self._closed:
                on_exit()

        def wait() -> None:
            _block_until_exit(pid)
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                self._loop.call_soon_threadsafe(told)

        # A daemon, so that a child that outlives the agent doesn't hold it back.
        threading.Thread(target=wait, name=f"elaunch-wait-{pid}", daemon=True).start()

    def close(self) -> None:
        """Forget the children that are still watched."""
        self._closed = True


def _block_until_exit(pid: int) -> None:
    # ChildProcessError: it was reaped, or SIGCHLD is ignored; either way it is gone.
    if sys.platform == "darwin":  # has no waitid before Python 3.13
        import select

        event = select.kevent(
            pid,
            select.KQ_FILTER_PROC,
            select.KQ_EV_ADD | select.KQ_EV_ONESHOT,
            select.KQ_NOTE_EXIT,
        )
        with (
            contextlib.suppress(ProcessLookupError),  # it has ended already
            contextlib.closing(select.kqueue()) as queue,
        ):
            queue.control([event], 1)
    else:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def new_exit_watcher(loop: asyncio.AbstractEventLoop) -> ExitWatcher:
    """Return the best watcher that this system can give."""
    return PidfdWatcher(loop) if PidfdWatcher.available() else ThreadWatcher(loop)
