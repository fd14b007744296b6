"""A health check over HTTP: whether something goes on, asked from outside.

It answers from a thread of its own, so that what stands still can't keep it from saying
so::

    server = create_healthcheck_server(last_progress, port=8080, timeout=60)
    server.start()
"""

import contextlib
import socket
import time
from collections.abc import Callable, Mapping

from elaunch.http_server import HttpServer, Request, Response, json_response


HOST = "127.0.0.1"
"""Where it listens if nobody says: others on the network have to be let in."""

PATHS = frozenset({"/", "/healthz"})


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
        self._server: HttpServer | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not."""
        return int(self._listener.getsockname()[1]) if self._listener else 0

    def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: If it can't listen there.
        """
        self._listener = listen_at(*self._place)
        self._server = HttpServer(self._listener, self._answer, "elaunch-health")
        self._server.start()

    def stop(self) -> None:
        """End it, and the conversations that are going on. Twice is fine."""
        server, self._server = self._server, None
        if server:
            server.stop()
            self._listener = None

    def _answer(self, request: Request) -> Response:
        if request.path not in PATHS:
            error = f"there is no {request.path!r}, but '/' and '/healthz'"
            return json_response(404, {"error": error})
        if request.method != "GET":
            error = f"the method {request.method!r} is not for this"
            return json_response(405, {"error": error})
        return json_response(*self._state())

    def _state(self) -> tuple[int, Mapping[str, object]]:
        try:
            last = self._alive_callback()
            age = time.time() - last
            facts = {**self._facts(), "last_progress": last, "age": round(age, 3)}
        except Exception as error:  # noqa: BLE001 - who can't tell is not well
            return 503, {"healthy": False, "error": f"{type(error).__name__}: {error}"}
        healthy = age <= self._timeout
        return (200 if healthy else 503), {"healthy": healthy, **facts}


def listen_at(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address or name; blocks.

    Raises:
        OSError: If it can't listen there.
    """
    family, _, _, _, place = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return socket.create_server(place[:2], family=family)


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
