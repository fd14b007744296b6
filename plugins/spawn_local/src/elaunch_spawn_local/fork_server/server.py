"""The server's loop: requests and ends of children in, births and kills out.

Requests: ``start`` (with three descriptors), ``signal``, ``sweep``, ``home``. Answers:
``started``, ``failed``, ``exited``, ``killed``, ``swept``. The end of the connection,
or of the agent, ends everything below this process and then the process itself.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import sys
import time

from elaunch_spawn_local.fork_server import birth, descendants
from elaunch_spawn_local.fork_server.frames import DESCRIPTORS, Frames, pack


TYPE_CHECKING = False  # see `frames`
if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from typing import Any


LOOK_AGAIN = 0.1
"""Seconds after which a sweep looks again, where no end of a child wakes it."""

END_LIMIT = 10.0
"""Seconds for which what even SIGKILL does not end is waited for without an agent."""

_CHUNK = 64 * 1024


class Server:
    """Serves one agent.

    Args:
        connection: To the agent, and to nobody else.
        agent: Process id of the agent.
        handlers: What `birth.ignore_signals` returned: what workers are to find.
    """

    def __init__(
        self, connection: socket.socket, agent: int, handlers: dict[int, Any]
    ) -> None:
        self._connection = connection
        self._handlers = handlers
        self._prctl = birth.prctl()
        self._frames = Frames()
        self._descriptors: list[int] = []
        self._workers: dict[int, int] = {}  # its number by process id
        self._births: dict[int, tuple[int, int]] = {}  # both by pipe
        self._killed: set[int] = set()
        self._undying: set[int] = set()  # those of a sweep that had its time
        self._sweep_until: float | None = None
        self._connected = True
        self._home = ""
        self._poll = select.poll()
        self._wake = _wake_by_child()
        self._agent = _descriptor_of(agent)
        for descriptor in (connection.fileno(), self._wake[0], self._agent):
            if descriptor is not None:
                self._poll.register(descriptor, select.POLLIN)
        birth.become_subreaper(self._prctl)
        # Whoever launched may have blocked signals; the end of a child must be heard.
        self._blocked = signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def serve(self) -> dict[str, Any] | None:
        """Serve until the agent is gone and nothing is left.

        Returns:
            In the server, at the end, None. In a child that is to run Python, the
            request that says what.
        """
        while self._connected or not self._swept():
            for descriptor, _ in self._poll.poll(self._patience()):
                if descriptor == self._connection.fileno():
                    born = self._receive()
                    if born:
                        return born
                elif descriptor == self._wake[0]:
                    _drain(descriptor)
                elif descriptor == self._agent:
                    self._disconnect()
                elif descriptor in self._births:
                    self._born(descriptor)
            self._reap()
            if self._sweep_until is not None:
                self._sweep()
        self._remove_home()
        return None

    def end_all(self) -> None:
        """Begin to end everything below this process, and then itself."""
        self._disconnect()

    # -- the connection -----------------------------------------------------------

    def _receive(self) -> dict[str, Any] | None:
        try:
            data, descriptors = _receive(self._connection)
        except OSError:  # reset: the agent is gone
            data, descriptors = b"", []
        self._descriptors += descriptors
        if not data:
            self._disconnect()
        for request in self._frames.feed(data):
            born = self._perform(request)
            if born:
                return born
        return None

    def _perform(self, request: dict[str, Any]) -> dict[str, Any] | None:
        wish = request["do"]
        if wish == "start":
            given = tuple(self._descriptors[:DESCRIPTORS])
            del self._descriptors[:DESCRIPTORS]
            return self._start(request, given)
        if wish == "signal":
            self._signal(request["worker"], request["signum"])
        elif wish == "sweep":
            self._killed.clear()
            self._sweep_until = time.monotonic() + request["limit"]
        elif wish == "home":
            self._home = request["path"]
        return None

    def _tell(self, **answer: Any) -> None:
        if self._connected:
            try:
                self._connection.sendall(pack(answer))
            except OSError:
                self._disconnect()

    def _disconnect(self) -> None:
        """End everything: the agent is gone, or done."""
        if self._connected:
            self._connected = False
            self._poll.unregister(self._connection.fileno())
            self._connection.close()
            if self._agent is not None:
                self._poll.unregister(self._agent)
                os.close(self._agent)
                self._agent = None
            self._sweep_until = time.monotonic() + END_LIMIT

    # -- births -------------------------------------------------------------------

    def _start(
        self, request: dict[str, Any], given: tuple[int, ...]
    ) -> dict[str, Any] | None:
        if len(given) < DESCRIPTORS:  # the system could not give us all of them
            self._tell(told="failed", worker=request["worker"], errno=errno.EMFILE)
            return self._close(given)
        server = os.getpid()
        try:
            news, failure = os.pipe()
        except OSError as error:
            self._tell(told="failed", worker=request["worker"], errno=error.errno)
            return self._close(given)
        try:
            pid = os.fork()
        except OSError as error:
            self._tell(told="failed", worker=request["worker"], errno=error.errno)
            os.close(news)
        else:
            if pid == 0:
                os.close(news)
                return self._be_born(request, given, failure, server)
            self._workers[pid] = request["worker"]
            self._births[news] = (request["worker"], pid)
            self._poll.register(news, select.POLLIN)
        return self._close((failure, *given))

    @staticmethod
    def _close(descriptors: tuple[int, ...]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    def _be_born(
        self,
        request: dict[str, Any],
        given: tuple[int, ...],
        failure: int,
        server: int,
    ) -> dict[str, Any]:
        """Become the worker; return in a child that goes on as this very program."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            birth.restore_signals(self._handlers)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)
            birth.die_with_parent(self._prctl, server)
            birth.settle(request, given)
            if "program" in request:
                birth.run_program(request["program"], request["environment"])
            self._forget()
        except Exception as error:  # noqa: BLE001 - to be told, whatever it is
            number = error.errno if isinstance(error, OSError) else None
            text = json.dumps([number, str(error)])
            os.write(failure, text.encode("ascii"))
            os._exit(127)
        os.close(failure)
        return request

    def _forget(self) -> None:
        """Close what a child has of the server."""
        for descriptor in (*self._births, *self._wake, *self._descriptors):
            os.close(descriptor)
        if self._agent is not None:
            os.close(self._agent)
        self._connection.close()

    def _born(self, news: int) -> None:
        """Hear from a child: nothing if all went well, else what was wrong."""
        text = os.read(news, _CHUNK)
        number, pid = self._births.pop(news)
        self._poll.unregister(news)
        os.close(news)
        if not text:
            self._tell(told="started", worker=number, pid=pid)
            return
        self._workers.pop(pid, None)
        error, reason = json.loads(text)
        self._tell(told="failed", worker=number, errno=error, reason=reason)

    # -- ends ---------------------------------------------------------------------

    def _reap(self) -> None:
        for pid, status in _ended_children(self._workers):
            self._hear_birth(pid)
            number = self._workers.pop(pid, None)
            if number is not None:
                self._tell(told="exited", worker=number, status=status)

    def _hear_birth(self, pid: int) -> None:
        """Tell of a start before its end is told."""
        for news, (_, born) in tuple(self._births.items()):
            if born == pid:
                self._born(news)

    def _signal(self, worker: int, signum: int) -> None:
        for pid, known in self._workers.items():
            if known == worker:
                _signal_group(pid, signum)

    def _sweep(self) -> None:
        """Kill whatever is below this process; again, until there is nothing."""
        # A list takes its time, and may miss one whose siblings come and go meanwhile.
        # The kernel's word counts: who lost a parent is a child of this process, so in
        # the end all are.
        left = set[int]()
        if not _childless():
            left = descendants.descendants(set(self._workers))
        news = {pid for pid in left if descendants.kill(pid)} - self._killed
        if news:
            self._killed |= news
            self._tell(told="killed", pids=sorted(news))
        late = time.monotonic() >= (self._sweep_until or 0)
        known = not self._connected and bool(left) and left <= self._undying
        if _childless() or late or known:
            self._sweep_until = None
            self._undying |= left
            # A worker that a debugger keeps from being reaped has not ended for us.
            self._tell(told="swept", left=sorted(left | set(self._workers)))

    def _swept(self) -> bool:
        return self._sweep_until is None

    def _patience(self) -> float | None:
        """Return how many milliseconds may pass without an event."""
        return None if self._sweep_until is None else LOOK_AGAIN * 1000

    def _remove_home(self) -> None:
        """Remove what the agent left; there is nothing if it could say goodbye."""
        if self._home and os.path.isdir(self._home):
            import shutil

            shutil.rmtree(self._home, ignore_errors=True)


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Receive a piece of the stream and the descriptors that came with it."""
    # Not to be inherited from the first moment on, where the system can do that.
    flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
    data, descriptors, _, _ = socket.recv_fds(
        connection, _CHUNK, 16 * DESCRIPTORS, flags
    )
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - its only form
    return data, descriptors


def _descriptor_of(agent: int) -> int | None:
    """Return what gets readable when the agent ends; it need not be the connection.

    A process that the agent's program forked may hold the agent's end of that open.
    """
    if sys.platform != "linux" or os.getppid() != agent:
        return None
    try:
        return os.pidfd_open(agent)
    except OSError:
        return None


def _wake_by_child() -> tuple[int, int]:
    """Let the end of a child make a pipe readable."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ends[1], warn_on_full_buffer=False)
    return ends


def _drain(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, _CHUNK):
            continue


def _ended_children(leaders: Container[int]) -> Iterator[tuple[int, int]]:
    """Reap what has ended and yield its id and wait status.

    What is left of a leader's process group is killed, where the system can tell of an
    end without reaping even before that: so far nobody else can have the group's id.
    """
    while True:
        try:
            pid, status = _ended_child()
            if not pid:
                return
            if pid in leaders:
                _signal_group(pid, signal.SIGKILL)
            if status is None:
                _, status = os.waitpid(pid, 0)
        except ChildProcessError:
            return
        yield pid, status


def _ended_child() -> tuple[int, int | None]:
    """Return a child that has ended, unreaped if possible; 0 if there is none."""
    if hasattr(os, "waitid"):
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        return (ended.si_pid if ended else 0), None
    return os.waitpid(-1, os.WNOHANG)


def _childless() -> bool:
    """Tell whether this process has no child, not even one to be reaped."""
    try:
        _ended_child()
    except ChildProcessError:
        return True
    return False


def _signal_group(leader: int, signum: int) -> None:
    # PermissionError: what macOS says of a group in which all are dead.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signum)
