"""A network between two processes of this machine, with faults on demand."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable


_NO_LINGER = struct.pack("ii", 1, 0)


class Proxy:
    """Carries connections to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._flowing = threading.Event()
        self._flowing.set()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._place = ("127.0.0.1", 0)
        self.accept()

    @property
    def endpoint(self) -> str:
        """Where it is listened at."""
        return f"127.0.0.1:{self._place[1]}"

    def accept(self) -> None:
        """Take connections, after the start or `refuse`."""
        self._listener = socket.create_server(self._place)
        self._place = self._listener.getsockname()
        self._start(self._accept, self._listener)

    def refuse(self) -> None:
        """Reset all connections and refuse new ones."""
        # Closing alone would not wake who accepts.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()

    def reset(self) -> None:
        """Reset all connections, on both sides."""
        with self._lock:
            connections = tuple(self._connections)
            self._connections.clear()
        for connection in connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)  # wakes who reads
            connection.close()

    def stall(self) -> None:
        """Carry nothing, and tell nobody."""
        self._flowing.clear()

    def flow(self) -> None:
        """Carry again, first what has been held back."""
        self._flowing.set()

    def close(self) -> None:
        """End it."""
        self.flow()
        self.refuse()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                ours, _ = listener.accept()
                theirs = socket.create_connection(self._target)
            except OSError:
                return
            with self._lock:
                self._connections |= {ours, theirs}
            self._start(self._carry, ours, theirs)
            self._start(self._carry, theirs, ours)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self._flowing.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()
