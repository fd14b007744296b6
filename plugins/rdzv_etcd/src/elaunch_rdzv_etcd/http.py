"""HTTP to one endpoint: what both client libraries send their requests through.

Nothing is retried and no redirect is followed here: only the caller of a request knows
what may be sent twice. Neither proxies nor certificates are taken from the environment.
"""

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import attrs
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import parse_url

from elaunch_rdzv_etcd.endpoints import Endpoint
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.trouble import Unavailable, Unusable


_HINT_WITHIN = 2.0  # seconds
_CERTIFICATE_ADVICE = (
    "give cert=FILE and key=FILE of one that etcd trusts and that is not over"
)
_NO_HTTP = (
    http.client.BadStatusLine,
    http.client.LineTooLong,
    http.client.UnknownProtocol,
)
_LONGEST_QUOTE = 50


class WrongProtocol(urllib3.exceptions.HTTPError):
    """Plain HTTP was sent to who speaks TLS, or the reverse."""


@attrs.define(eq=False)
class Http:
    """Connections to one endpoint, and the response that is being waited for.

    The headers of a watch come at once, its body when something changes.

    Attributes:
        response: The last response in any thread.
    """

    _pool: urllib3.HTTPConnectionPool
    _unknown: tuple[str, int] | None = None  # address, until it has answered
    response: urllib3.BaseHTTPResponse | None = attrs.field(default=None, init=False)
    _interrupted: bool = attrs.field(default=False, init=False)
    _last: threading.local = attrs.field(factory=threading.local, init=False)

    @classmethod
    def to(cls, endpoint: Endpoint, target: Target, connections: int) -> "Http":
        """Return what keeps up to so many connections to an endpoint open."""
        host, port = endpoint.host, endpoint.port
        if endpoint.path:
            return cls(_UnixPool(endpoint.path, maxsize=connections))
        pool = urllib3.HTTPConnectionPool(host, port, maxsize=connections)
        pool.ConnectionCls = _PlainConnection
        if target.tls:
            pool = urllib3.HTTPSConnectionPool(
                host, port, maxsize=connections, ssl_context=target.tls
            )
            pool.ConnectionCls = _TlsConnection
        return cls(pool, (host.strip("[]"), port))

    @property
    def last(self) -> urllib3.BaseHTTPResponse | None:
        """The response to the last request of this thread, if there was one."""
        return getattr(self._last, "response", None)

    def request(
        self, method: str, url: str, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """Make a request; ``options`` are those of urllib3."""
        self._last.response = self.response = None
        with self._judged():
            self.response = self._pool.request(
                method, parse_url(url).request_uri, retries=False, **options
            )
        self._last.response = self.response
        if self._interrupted:
            self.interrupt()
        return self.response

    def request_encode_body(
        self, method: str, url: str, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """Make a request with the fields in its body, as python-etcd asks for it."""
        options["retries"] = False
        self._last.response = None
        with self._judged():
            self._last.response = self._pool.request_encode_body(
                method, parse_url(url).request_uri, **options
            )
        response: urllib3.BaseHTTPResponse = self._last.response
        return response

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
            hint = _hint(_root(error), self._unknown) if self._unknown else None
            if hint:
                raise WrongProtocol(hint) from None
            raise
        self._unknown = None


def translated(error: BaseException) -> Unavailable:
    """Return what an error of urllib3 means, without the names of three libraries."""
    cause = _root(error)
    text = str(cause) or type(cause).__name__
    if isinstance(cause, WrongProtocol):
        return Unusable(text)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Unusable(f"its certificate can't be trusted: {text}")
    if isinstance(cause, ssl.SSLError) and "_ALERT_" in str(cause.reason):
        return Unusable(
            f"it does not accept this client's certificate, or that there is none: "
            f"{text}; {_CERTIFICATE_ADVICE}"
        )
    if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
        return Unusable(f"it does not speak TLS: {text}; leave out protocol=https")
    if isinstance(cause, _NO_HTTP) and not isinstance(cause, ConnectionError):
        return Unusable(f"it does not speak HTTP: {text[:_LONGEST_QUOTE]!r}")
    return Unavailable(text)


def _root(error: BaseException) -> BaseException:
    inner = [e for e in (error.__cause__, *error.args) if isinstance(e, BaseException)]
    return _root(inner[0]) if inner else error


def _hint(cause: BaseException, address: tuple[str, int]) -> str | None:
    """Return what to change if an endpoint hung up because of the wrong protocol."""
    if isinstance(cause, http.client.RemoteDisconnected) and _speaks_tls(address):
        return "it speaks TLS only; add protocol=https"
    if isinstance(cause, ssl.SSLEOFError) and _speaks_http(address):
        return "it does not speak TLS; leave out protocol=https"
    return None


def _speaks_tls(address: tuple[str, int]) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(address, _HINT_WITHIN) as connection,
            context.wrap_socket(connection),
        ):
            return True
    except ssl.SSLError as error:
        return "_ALERT_" in str(error.reason)  # it wants to see a certificate
    except OSError:
        return False


def _speaks_http(address: tuple[str, int]) -> bool:
    connection = http.client.HTTPConnection(*address, timeout=_HINT_WITHIN)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/version")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


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
