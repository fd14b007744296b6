"""A small HTTP server in threads of its own, which nobody who asks can do much to.

It answers one request for each connection. What a request may have of time and bytes is
limited, and so are the connections: of those that have not asked yet, the one that is
there longest makes room.
"""

import contextlib
import json
import logging
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


logger = logging.getLogger(__name__)

REQUEST_LIMIT = 8 * 1024
"""Bytes that a request may have, its body among them."""

REQUEST_TIMEOUT = 5.0
"""Seconds in which it must have come, and its answer must have gone."""

CONNECTIONS_LIMIT = 32
"""Connections at a time; when another comes, the one that is there longest and has not
asked yet goes."""

PAUSE = 0.05
"""Seconds after which a connection is taken that could not be: nothing tells of a
descriptor that is free again."""

LAST_WORD = 1.0
"""Seconds that a server which ends gives to the answers that are under way."""

_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

_DIGITS = len(str(REQUEST_LIMIT))
"""Of a length that may do."""

_CREDENTIALS = struct.Struct("3i")


class Request(NamedTuple):
    """What somebody asks.

    Attributes:
        method: What is to be done, for example ``GET``.
        path: With what, without the query.
        headers: The headers, by their names in lower case.
        body: What was sent beside that.
        peer: Who asks, for people: an address, or a process of this host.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: str


class Response(NamedTuple):
    """What he is told.

    Attributes:
        status: The status code.
        body: The answer.
        content_type: What kind of data that is.
    """

    status: int
    body: bytes
    content_type: str = "application/json"


def json_response(status: int, facts: Mapping[str, object]) -> Response:
    """Return an answer in JSON."""
    return Response(status, json.dumps(facts).encode() + b"\n")


class HttpServer:
    """Answers requests that come to one socket.

    Args:
        listener: The socket, which listens.
        answer: Answers a request; it is called in threads of the server.
        name: Name of the thread that waits for connections.
    """

    def __init__(
        self,
        listener: socket.socket,
        answer: Callable[[Request], Response],
        name: str,
    ) -> None:
        self._listener = listener
        self._answer = answer
        self._wake, self._ending = socket.socketpair()
        self._talks: dict[socket.socket, threading.Thread] = {}
        self._answering: set[socket.socket] = set()
        listener.settimeout(0.0)
        self._thread = threading.Thread(target=self._listen, name=name, daemon=True)

    @property
    def is_busy(self) -> bool:
        """Whether anybody is connected."""
        return bool(self._talks)

    def start(self) -> None:
        """Begin to take connections."""
        self._thread.start()

    def stop(self) -> None:
        """End it, and the conversations that are going on; closes the socket.

        Whoever has asked is answered, if that does not take long.
        """
        self._wake.close()
        self._thread.join()

    def _listen(self) -> None:
        listener, ending = self._listener, self._ending
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
        self._see_off()

    def _see_off(self) -> None:
        patience = time.monotonic() + LAST_WORD
        for own, talk in tuple(self._talks.items()):
            if own in self._answering:
                talk.join(max(patience - time.monotonic(), 0))
            _send_away(own)
            talk.join()

    def _greet(self, own: socket.socket) -> None:
        if len(self._talks) >= CONNECTIONS_LIMIT:
            # Who asks to know sends his request at once: who is here longest does not.
            # But for those who have asked and are being answered.
            talks = tuple(self._talks.items())
            silent = [each for each in talks if each[0] not in self._answering]
            for oldest, talk in silent[:1]:
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
                asked = _read_request(own, time.monotonic() + REQUEST_TIMEOUT)
                self._answering.add(own)
                told = self._told(asked) if isinstance(asked, Request) else asked
                own.settimeout(REQUEST_TIMEOUT)
                own.sendall(_encode(told))
                own.shutdown(socket.SHUT_WR)
        finally:
            self._answering.discard(own)
            self._talks.pop(own, None)

    def _told(self, request: Request) -> Response:
        try:
            return self._answer(request)
        except Exception:  # whoever asked must not wait, and the server goes on
            logger.exception("%s %s failed", request.method, request.path)
            return json_response(500, {"error": "this is a bug; the log has more"})


def _send_away(own: socket.socket) -> None:
    with contextlib.suppress(OSError):
        own.shutdown(socket.SHUT_RDWR)


def _read_request(own: socket.socket, deadline: float) -> Request | Response:
    """Return what is asked, or what to tell where it is no request."""
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) >= REQUEST_LIMIT:
            return _too_long()
        data += _receive(own, deadline)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != len(("method", "path", "version")):
        return json_response(400, {"error": "this is no HTTP request"})
    named = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in named}
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or "transfer-encoding" in headers:
        return json_response(400, {"error": "a body needs a Content-Length"})
    if len(length) > _DIGITS or len(head) + int(length) >= REQUEST_LIMIT:
        return _too_long()
    while len(body) < int(length):
        body += _receive(own, deadline)
    path = words[1].partition("?")[0]
    return Request(words[0], path, headers, body, peer_of(own))


def _too_long() -> Response:
    return json_response(
        400, {"error": f"a request has less than {REQUEST_LIMIT} bytes"}
    )


def _receive(own: socket.socket, deadline: float) -> bytes:
    own.settimeout(max(deadline - time.monotonic(), 0.001))
    data = own.recv(REQUEST_LIMIT)
    if not data:
        raise ConnectionError("the request has no end")
    return data


def peer_of(own: socket.socket) -> str:
    """Return who is at the other end of a connection, for people."""
    if own.family != socket.AF_UNIX:
        host, port = own.getpeername()[:2]
        return f"{host}:{port}"
    if not hasattr(socket, "SO_PEERCRED"):
        return "a process of this host"
    told = own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(told)
    return f"process {pid} of user {uid}"


def _encode(answer: Response) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        f"Connection: close\r\n\r\n"
    )
    return head.encode() + answer.body
