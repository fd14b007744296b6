"""HTTP to one endpoint: what both client libraries send their requests through.

Nothing is retried and no redirect is followed here: only the caller of a request knows
what may be sent twice. Neither proxies nor certificates are taken from the environment.
"""

import contextlib
import socket
import ssl
from typing import Any

import attrs
import urllib3
from urllib3.connection import HTTPConnection
from urllib3.util import parse_url

from elaunch_rdzv_etcd.endpoints import Endpoint
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.trouble import Unavailable, Unusable


@attrs.define(eq=False)
class Http:
    """Connections to one endpoint, and the response that is being waited for.

    The headers of a watch come at once, its body when something changes.

    Attributes:
        response: The last response.
    """

    _pool: urllib3.HTTPConnectionPool
    response: urllib3.BaseHTTPResponse | None = attrs.field(default=None, init=False)
    _interrupted: bool = attrs.field(default=False, init=False)

    @classmethod
    def to(cls, endpoint: Endpoint, target: Target, connections: int) -> "Http":
        """Return what keeps up to so many connections to an endpoint open."""
        host, port = endpoint.host, endpoint.port
        if endpoint.path:
            return cls(_UnixPool(endpoint.path, maxsize=connections))
        if target.tls is None:
            return cls(urllib3.HTTPConnectionPool(host, port, maxsize=connections))
        return cls(
            urllib3.HTTPSConnectionPool(
                host, port, maxsize=connections, ssl_context=target.tls
            )
        )

    def request(
        self, method: str, url: str, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """Make a request; ``options`` are those of urllib3."""
        self.response = None
        self.response = self._pool.request(
            method, parse_url(url).request_uri, retries=False, **options
        )
        if self._interrupted:
            self.interrupt()
        return self.response

    def request_encode_body(
        self, method: str, url: str, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """Make a request with the fields in its body, as python-etcd asks for it."""
        options["retries"] = False
        return self._pool.request_encode_body(
            method, parse_url(url).request_uri, **options
        )

    def interrupt(self) -> None:
        """Make the request that is waiting end now; for use from another thread."""
        self._interrupted = True
        # A response that is already complete has nothing to shut down.
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            if self.response:
                self.response.shutdown()

    def clear(self) -> None:
        """Close the connections, those in use as soon as their request is over.

        The name is python-etcd's, which does it, too.
        """
        self._pool.close()


def translated(error: BaseException) -> Unavailable:
    """Return what an error of urllib3 means, without the names of three libraries."""
    cause = _root(error)
    text = str(cause) or type(cause).__name__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Unusable(f"its certificate can't be trusted: {text}")
    if isinstance(cause, ssl.SSLError) and "_ALERT_" in str(cause.reason):
        return Unusable(f"it does not accept this client's certificate: {text}")
    if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
        return Unusable(f"it does not speak TLS: {text}; leave out protocol=https")
    return Unavailable(text)


def _root(error: BaseException) -> BaseException:
    inner = error.__cause__ or (error.args[0] if error.args else None)
    return _root(inner) if isinstance(inner, BaseException) else error


class _UnixConnection(HTTPConnection):
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
