"""HTTP to one endpoint: what both client libraries send their requests through.

Nothing is retried and no redirect is followed here: only the caller of a request knows
what may be sent twice. Neither proxies nor certificates are taken from the environment.
"""

import contextlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import parse_url

from elaunch_rdzv_etcd.diagnosis import WrongProtocol, hint
from elaunch_rdzv_etcd.endpoints import Endpoint
from elaunch_rdzv_etcd.target import Target


_LONGEST_ANSWER = 64 * 1024 * 1024
_PIECE = 64 * 1024
_FRAME = frozenset({"content-encoding", "content-length", "transfer-encoding"})


@attrs.define(eq=False)
class Http:
    """Connections to one endpoint, for use by several threads.

    Attributes:
        response: The last response in any thread, which is the one that is being waited
            for where there is one thread: the headers of a watch come at once, its body
            when something changes.
    """

    _pool: urllib3.HTTPConnectionPool
    _limit: float  # seconds in which an answer must be there as a whole
    _unknown: tuple[str, int] | None = None  # address, until it has answered
    response: urllib3.BaseHTTPResponse | None = attrs.field(default=None, init=False)
    _interrupted: bool = attrs.field(default=False, init=False)
    _last: threading.local = attrs.field(factory=threading.local, init=False)

    @classmethod
    def to(cls, endpoint: Endpoint, target: Target, connections: int) -> "Http":
        """Return what keeps up to so many connections to an endpoint open."""
        host, port, limit = endpoint.host, endpoint.port, 2 * target.timeout
        if endpoint.path:
            return cls(_UnixPool(endpoint.path, maxsize=connections), limit)
        pool = urllib3.HTTPConnectionPool(host, port, maxsize=connections)
        pool.ConnectionCls = _PlainConnection
        if target.tls:
            pool = urllib3.HTTPSConnectionPool(
                host, port, maxsize=connections, ssl_context=target.tls
            )
            pool.ConnectionCls = _TlsConnection
        return cls(pool, limit, (host.strip("[]"), port))

    @property
    def last(self) -> urllib3.BaseHTTPResponse | None:
        """The response to the last request of this thread, if there was one."""
        return getattr(self._last, "response", None)

    def request(
        self, method: str, url: str, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """Make a request and read its answer; ``options`` are those of urllib3.

        Raises:
            urllib3.exceptions.HTTPError: Also if the answer has no end.
        """
        return self._whole(self.stream(method, url, **options))

    def request_encode_body(
        self, method: str, url: str, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """Make a request with the fields in its body, as python-etcd asks for it."""
        options["retries"] = False
        return self._whole(
            self._open(
                lambda: self._pool.request_encode_body(
                    method, parse_url(url).request_uri, **options
                )
            )
        )

    def stream(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Make a request; its answer is to be read as it comes."""
        return self._open(
            lambda: self._pool.request(
                method, parse_url(url).request_uri, retries=False, **options
            )
        )

    def _open(
        self, request: Callable[[], urllib3.BaseHTTPResponse]
    ) -> urllib3.BaseHTTPResponse:
        self._last.response = None
        with self._judged():
            response = request()
        # By another name than the attribute: several threads are here at once.
        self._last.response = self.response = response
        if self._interrupted:
            self.interrupt()
        return response

    def _whole(self, response: urllib3.BaseHTTPResponse) -> urllib3.HTTPResponse:
        """Read an answer; a time-out for each piece would let it go on for ever."""
        deadline = time.monotonic() + self._limit
        body = bytearray()
        with contextlib.ExitStack() as unless_read:
            unless_read.callback(response.close)
            while piece := response.read1(_PIECE, decode_content=True):
                body += piece
                if len(body) > _LONGEST_ANSWER or time.monotonic() > deadline:
                    raise urllib3.exceptions.HTTPError("its answer does not end")
            unless_read.pop_all()
        response.release_conn()
        headers = {k: v for k, v in response.headers.items() if k.lower() not in _FRAME}
        return urllib3.HTTPResponse(
            body=io.BytesIO(body),
            headers=headers,
            status=response.status,
            reason=response.reason,
            preload_content=False,
        )

    def interrupt(self) -> None:
        """Make the request that is waiting end now; for use from another thread."""
        self._interrupted = True
        # A response that is already complete has nothing to shut down.
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            if self.response:
                self.response.shutdown()

    def wait(self, seconds: float) -> None:
        """Let the rest of the last response come late, by so many seconds."""
        connection: object = self.response.connection if self.response else None
        if isinstance(connection, _Connection):
            connection.opened.settimeout(seconds)

    def clear(self) -> None:
        """Close the connections, those in use as soon as their request is over.

        The name is python-etcd's, which does it, too, when it does not like a response:
        nobody reads that one, and so nobody would give its connection back.
        """
        if self.last:
            self.last.close()
        self._pool.close()

    @contextlib.contextmanager
    def _judged(self) -> Iterator[None]:
        """Find out why one that never answered hangs up: etcd does not say it."""
        try:
            yield
        except urllib3.exceptions.HTTPError as error:
            told = hint(error, self._unknown) if self._unknown else None
            if told:
                raise WrongProtocol(told) from None
            raise
        self._unknown = None


class _Connection:
    """Knows its socket also when that is left to the last response."""

    opened: socket.socket

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # of those that it is mixed into
        self.opened = self.sock  # type: ignore[attr-defined]  # see above


class _PlainConnection(_Connection, HTTPConnection):
    """HTTP."""


class _TlsConnection(_Connection, HTTPSConnection):
    """HTTP over TLS."""


class _UnixConnection(_Connection, HTTPConnection):
    """HTTP through a socket in the file system."""

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__("localhost", **options)
        self._path = path

    def _new_conn(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self.timeout)
        try:
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        return sock


class _UnixPool(urllib3.HTTPConnectionPool):
    def __init__(self, path: str, **options: Any) -> None:
        super().__init__("localhost", **options)
        self._path = path

    def _new_conn(self) -> HTTPConnection:
        return _UnixConnection(self._path, timeout=self.timeout.connect_timeout)
