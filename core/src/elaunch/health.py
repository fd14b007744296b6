"""A health check over HTTP: whether something goes on, asked from outside.

It answers from a thread of its own, so that what stands still can't keep it from saying
so::

    server = create_healthcheck_server(last_progress, port=8080, timeout=60)
    server.start()
"""

import contextlib
import json
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping


HOST = "127.0.0.1"
"""Where it listens if nobody says: others on the network have to be let in."""

REQUEST_LIMIT = 8 * 1024
"""Bytes that a request may have."""

REQUEST_TIMEOUT = 5.0
"""Seconds in which it must have come, and its answer must have gone."""

CONNECTIONS_LIMIT = 32
"""Connections at a time; when another comes, the one that is there longest goes."""

PAUSE = 0.05
"""Seconds after which a connection is taken that could not be: nothing tells of a
descriptor that is free again."""

PATHS = frozenset({"/", "/healthz"})

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}

Answer = tuple[int, Mapping[str, object]]


class HealthCheckServer:
    """Answers ``GET /`` and ``GET /healthz``: 200, or 503 if nothing goes on.

    Args:
        alive_callback: Returns the Unix time of the last progress. It is called in the
            server's thread.
        port: Where to listen; 0 for any port that is free.
        timeout: Seconds after which it has been too long.
        host: Address or name to listen at.
        facts: Returns what else to tell, likewise.
    """

    def __init__(
        self,
        alive_callback: Callable[[], float],
        port: int,
        timeout: float = 60,
        host: str = HOST,
        facts: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self._alive_callback = alive_callback
        self._place = (host, port)
        self._timeout = timeout
        self._facts = facts
        self._listener: socket.socket | None = None
        self._wake: socket.socket | None = None
        self._talks: dict[socket.socket, threading.Thread] = {}
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not."""
        return int(self._listener.getsockname()[1]) if self._listener else 0

    def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: If it can't listen there.
        """
        family, _, _, _, place = socket.getaddrinfo(
            *self._place, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self._listener = socket.create_server(place[:2], family=family)
        self._listener.settimeout(0.0)
        self._wake, ending = socket.socketpair()
        self._thread = threading.Thread(
            target=self._listen,
            args=(self._listener, ending),
            name="elaunch-health",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """End it, and the conversations that are going on. Twice is fine."""
        thread, self._thread = self._thread, None
        if thread and self._wake:
            self._wake.close()
            thread.join()
            self._listener = None

    def _listen(self, listener: socket.socket, ending: socket.socket) -> None:
        with listener, ending, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(ending, selectors.EVENT_READ)
            while ending not in {key.fileobj for key, _ in selector.select()}:
                try:
                    self._greet(listener.accept()[0])
                except BlockingIOError:  # who came is gone again
                    continue
                except OSError:
                    time.sleep(PAUSE)
        for own, talk in tuple(self._talks.items()):
            _send_away(own)
            talk.join()

    def _greet(self, own: socket.socket) -> None:
        if len(self._talks) >= CONNECTIONS_LIMIT:
            # Who asks to know sends his request at once: who is here longest does not.
            for oldest, talk in tuple(self._talks.items())[:1]:
                _send_away(oldest)
                talk.join(PAUSE)
        if len(self._talks) >= CONNECTIONS_LIMIT:
            own.close()
            return
        self._talks[own] = threading.Thread(
            target=self._serve, args=(own,), daemon=True
        )
        try:
            self._talks[own].start()
        except RuntimeError:  # the system has no thread for it
            del self._talks[own]
            own.close()

    def _serve(self, own: socket.socket) -> None:
        try:
            with own, contextlib.suppress(OSError):
                head = _read_head(own, time.monotonic() + REQUEST_TIMEOUT)
                own.settimeout(REQUEST_TIMEOUT)
                own.sendall(_response(self._answer(head)))
                own.shutdown(socket.SHUT_WR)
        finally:
            self._talks.pop(own, None)

    def _answer(self, head: bytes) -> Answer:
        if len(head) >= REQUEST_LIMIT:
            return 400, {"error": f"a request has less than {REQUEST_LIMIT} bytes"}
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != len(("method", "path", "version")):
            return 400, {"error": "this is no HTTP request"}
        if words[1].partition("?")[0] not in PATHS:
            return 404, {"error": f"there is no {words[1]!r}, but '/' and '/healthz'"}
        if words[0] != "GET":
            return 405, {"error": f"the method {words[0]!r} is not for this"}
        return self._state()

    def _state(self) -> Answer:
        try:
            last = self._alive_callback()
            age = time.time() - last
            facts = {**self._facts(), "last_progress": last, "age": round(age, 3)}
        except Exception as error:  # noqa: BLE001 - who can't tell is not well
            return 503, {"healthy": False, "error": f"{type(error).__name__}: {error}"}
        healthy = age <= self._timeout
        return (200 if healthy else 503), {"healthy": healthy, **facts}


def _send_away(own: socket.socket) -> None:
    with contextlib.suppress(OSError):
        own.shutdown(socket.SHUT_RDWR)


def _read_head(own: socket.socket, deadline: float) -> bytes:
    """Return a request up to its empty line, or as much as it may have."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < REQUEST_LIMIT:
        own.settimeout(max(deadline - time.monotonic(), 0.001))
        data = own.recv(REQUEST_LIMIT)
        if not data:
            raise ConnectionError("the request has no end")
        head += data
    return head


def _response(answer: Answer) -> bytes:
    status, facts = answer
    body = json.dumps(facts).encode() + b"\n"
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
        f"Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"Connection: close\r\n\r\n"
    )
    return head.encode() + body


def create_healthcheck_server(
    alive_callback: Callable[[], float], port: int, timeout: float
) -> HealthCheckServer:
    """Return a server on this host's own address; it is not started yet.

    Args:
        alive_callback: Returns the Unix time of the last progress.
        port: Where to listen.
        timeout: Seconds after which it has been too long.
    """
    return HealthCheckServer(alive_callback, port, timeout)


def parse_place(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``, ``[ADDRESS]:PORT`` or ``PORT`` (of 127.0.0.1).

    Raises:
        ValueError: If it is none of these.
    """
    host, _, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        port = ""  # an address without brackets: which part is the port?
    with contextlib.suppress(ValueError):
        if port.isascii() and 0 < int(port) < 1 << 16:
            return host or HOST, int(port)
    raise ValueError(f"a place is HOST:PORT, or a PORT of {HOST}, not {text!r}")
