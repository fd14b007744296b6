"""Where etcd is and how to speak to it."""

import re
import ssl

import attrs

from elaunch.api import UsageError
from elaunch_rdzv_etcd.options import EtcdV2Options


DEFAULT_PORT = 2379

_ENDPOINT = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]+))?"
)
_MAX_PORT = 65_535


@attrs.frozen
class Target:
    """Where etcd is and how to speak to it.

    Attributes:
        host: Host name or address, an IPv6 address in brackets.
        port: Port for clients.
        timeout: Seconds that one request may wait for an answer.
        tls: Whom to trust and who we are, or `None` for plain HTTP.
    """

    host: str
    port: int
    timeout: float
    tls: ssl.SSLContext | None = attrs.field(default=None, repr=False)

    @classmethod
    def parse(cls, endpoint: str, options: EtcdV2Options) -> "Target":
        """Read ``HOST[:PORT]`` and load the certificates.

        Raises:
            UsageError: If the endpoint is malformed or a certificate can't be used.
        """
        match = _ENDPOINT.fullmatch(endpoint.strip())
        if match is None:
            raise UsageError(
                f"the endpoint of etcd-v2 is HOST[:PORT], not {endpoint!r}; "
                f"write for example --rdzv-endpoint etcd.example.org:{DEFAULT_PORT}"
            )
        port = int(match["port"] or DEFAULT_PORT)
        if not 0 < port <= _MAX_PORT:
            raise UsageError(
                f"the endpoint {endpoint!r} of etcd-v2 has no valid port; "
                f"write one from 1 to {_MAX_PORT}"
            )
        tls = _tls(options) if options.protocol == "https" else None
        return cls(match["host"], port, options.request_timeout, tls)

    @property
    def protocol(self) -> str:
        """``http`` or ``https``."""
        return "https" if self.tls else "http"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _tls(options: EtcdV2Options) -> ssl.SSLContext:
    try:
        # With a CA file given, neither the system nor the environment adds to it.
        context = ssl.create_default_context(cafile=options.ca_cert)
    except OSError as error:
        raise UsageError(
            f"ca_cert {options.ca_cert!r} can't be used: {error}; "
            f"give a file of certificates in PEM form"
        ) from error
    if options.cert is not None:
        try:
            context.load_cert_chain(options.cert, options.key)
        except OSError as error:
            raise UsageError(
                f"cert {options.cert!r} with key {options.key!r} can't be used: "
                f"{error}; give files in PEM form that belong together"
            ) from error
    return context
