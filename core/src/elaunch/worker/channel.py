"""The channel: a worker tells its agent how it goes, and never waits for that.

Each message is a line of JSON, sent to the UNIX datagram socket that the agent has
for this worker (``docs/worker-channel.md``). A heartbeat that finds no room is left
out, since another one follows; whatever else finds none is kept, and sent by a thread
of its own as soon as there is room. Where nobody listens, nothing happens.
"""

import atexit
import contextlib
import errno
import os
import select
import threading
import time
from collections.abc import Hashable
from typing import TYPE_CHECKING

from elaunch.worker import stacks


if TYPE_CHECKING:  # imported where there is a channel
    import socket


CHANNEL = "ELAUNCH_CHANNEL"
"""Variable that names the socket; unset or empty means that nobody listens."""

BEAT_INTERVAL = 0.01
"""Seconds between two heartbeats that are sent: those between them are left out."""

MAX_KEPT = 256
"""Most messages that wait for room; later ones are lost."""

EXIT_PATIENCE = 1.0
"""Seconds that a process that ends gives its agent to make room."""

_NO_ROOM = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM)
_NOT_OURS = (errno.EBADF, errno.ENOTSOCK)


class Channel:
    """One process's side of the channel; may be used by all threads and in handlers."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self.forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Begin anew, as a process that was forked does: it has none of the threads."""
        # Taken again where a signal's handler speaks while its thread does.
        self._lock = threading.RLock()
        self._looked = False
        self._kept: dict[Hashable, bytes] = {}
        self._deliverer: threading.Thread | None = None
        self._waits_at_exit = False
        self._next_beat = 0.0
        if self._socket:
            self._close(self._socket)

    @property
    def is_open(self) -> bool:
        """Whether somebody listens, as far as this process knows."""
        return self._socket is not None or self._connect()

    def is_due(self) -> bool:
        """Whether a heartbeat is to be sent: somebody listens, and none just was."""
        return time.monotonic() >= self._next_beat and self.is_open

    def beat(self, line: str) -> None:
        """Send a heartbeat, if there is room for it."""
        self._next_beat = time.monotonic() + BEAT_INTERVAL
        self._send(_bytes(line))

    def say(self, line: str, key: Hashable) -> None:
        """Send a message that is not to be lost.

        Args:
            line: What to say.
            key: By which it can be taken back as long as it waits, and is replaced by
                the next one of that key.
        """
        if not self.is_open:
            return
        data = _bytes(line)
        if self._kept or not self._send(data):
            self._keep(key, data)

    def take_back(self, key: Hashable) -> bool:
        """Unsay what still waits; return whether it did."""
        if not self._kept:
            return False
        with self._lock:
            return self._kept.pop(key, None) is not None

    def _connect(self) -> bool:
        with self._lock:
            if not self._looked:
                self._looked = True
                path = os.environ.get(CHANNEL)
                self._socket = _connected(path) if path else None
                if self._socket:
                    stacks.prepare()  # who is watched can be asked where it hangs
            return self._socket is not None

    def _send(self, line: bytes) -> bool:
        """Send a line; return whether it is done with: sent, or nobody is there."""
        connected = self._socket
        if connected is None:
            return True
        try:
            connected.send(line)
        except OSError as error:
            if error.errno in _NO_ROOM:
                return False
            if error.errno in _NOT_OURS:
                return not self._renew(connected) or self._send(line)
            # The agent is gone, or has closed the channel: for good.
            self._close(connected)
        return True

    def _renew(self, lost: "socket.socket") -> bool:
        """Connect anew where the program has closed all descriptors, as daemons do.

        What has the number of ours by now is the program's, and is not closed.
        """
        with self._lock:
            if self._socket is lost:
                lost.detach()
                self._socket, self._looked = None, False
            return self.is_open

    def _keep(self, key: Hashable, line: bytes) -> None:
        with self._lock:
            if len(self._kept) >= MAX_KEPT and key not in self._kept:
                return
            self._kept[key] = line
            if not self._waits_at_exit:
                self._waits_at_exit = True
                atexit.register(self._deliver_at_exit)
            if self._deliverer is None:
                deliverer = threading.Thread(
                    target=self._deliver, name="elaunch-channel", daemon=True
                )
                # An interpreter that ends starts none.
                with contextlib.suppress(RuntimeError):
                    deliverer.start()
                    self._deliverer = deliverer

    def _deliver(self) -> None:
        """Send what waits as soon as there is room for it."""
        while True:
            self._wait_for_room(None)
            with self._lock:
                if self._send_kept():
                    self._deliverer = None
                    return

    def _deliver_at_exit(self) -> None:
        deadline = time.monotonic() + EXIT_PATIENCE
        while not self._send_kept() and time.monotonic() < deadline:
            self._wait_for_room(max(deadline - time.monotonic(), 0.0))

    def _send_kept(self) -> bool:
        """Send in its order what waits, while there is room; return if nothing does."""
        with self._lock:
            for key, line in tuple(self._kept.items()):
                # It goes when it was sent, so that what is said meanwhile comes later.
                if not self._send(line):
                    return False
                if self._kept.get(key) is line:
                    del self._kept[key]
            return not self._kept

    def _wait_for_room(self, seconds: float | None) -> None:
        connected = self._socket
        if connected:
            waiting = select.poll()
            waiting.register(connected, select.POLLOUT)
            waiting.poll(None if seconds is None else seconds * 1000)

    def _close(self, connected: "socket.socket") -> None:
        with self._lock:
            if self._socket is connected:
                self._socket = None
                self._kept.clear()
            connected.close()


def _connected(path: str) -> "socket.socket | None":
    """Return a socket that leads to the agent, if one listens."""
    import socket  # few programs that import this are workers

    if not hasattr(socket, "AF_UNIX"):
        return None
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        high = stacks.out_of_reach(found.detach())
        found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, fileno=high)
        found.settimeout(0)
        found.connect(path)
    except (OSError, ValueError):  # too long a path, or none
        found.close()
        return None
    return found


def _bytes(line: str) -> bytes:
    return line.encode(errors="backslashreplace")


channel = Channel()
"""That of this process."""
