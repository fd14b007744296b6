"""Where one member of an etcd cluster listens, and how clients reach it."""

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import attrs

from elaunch.api import UsageError
from elaunch_rdzv_etcd.identity import load_identity


@attrs.frozen
class Tls:
    """TLS between etcd and its clients; all files are in PEM form.

    Attributes:
        cert: File of the server's certificate. With ``client_auth`` it must be one for
            clients, too, since etcd's HTTP gateway uses it to call etcd.
        key: File of its private key.
        ca: File of the certificates that it must be signed by.
        client_auth: Whether clients must show a certificate that ``ca`` signed.
    """

    cert: Path
    key: Path
    ca: Path
    client_auth: bool = False

    @property
    def flags(self) -> list[str]:
        """What etcd is told."""
        flags = ["--cert-file", str(self.cert), "--key-file", str(self.key)]
        if self.client_auth:
            flags += ["--client-cert-auth", "--trusted-ca-file", str(self.ca)]
        return flags

    def context(self) -> ssl.SSLContext:
        """Return what a client on this host uses, which shows the same certificate.

        Raises:
            UsageError: If the files can't be used.
        """
        try:
            context = ssl.create_default_context(cafile=str(self.ca))
            load_identity(context, self.cert, self.key)
        except OSError as error:
            raise UsageError(
                f"the certificate {str(self.cert)!r} with the key {str(self.key)!r} "
                f"and the authority {str(self.ca)!r} can't be used: {error}; give "
                f"files in PEM form that belong together"
            ) from error
        return context


@attrs.frozen
class Host:
    """A host name or address to listen at.

    Attributes:
        name: What the user wrote.
        address: The address that it means here.
    """

    name: str
    address: ipaddress.IPv4Address | ipaddress.IPv6Address

    @classmethod
    def parse(cls, name: str) -> "Host":
        """Look a name up.

        Raises:
            UsageError: If it has no address.
        """
        bare = name.removeprefix("[").removesuffix("]")
        try:
            found = socket.getaddrinfo(bare, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UsageError(
                f"the host {name!r} has no address: {error}; "
                f"give a name or an address of this host"
            ) from error
        return cls(bare, ipaddress.ip_address(str(found[0][4][0])))

    @property
    def told(self) -> str:
        """How clients elsewhere name this host."""
        return socket.gethostname() if self.address.is_unspecified else self.name

    @property
    def here(self) -> str:
        """How clients on this host name it."""
        if not self.address.is_unspecified:
            return self.name
        return "127.0.0.1" if self.address.version == 4 else "::1"  # noqa: PLR2004 - of IP


LOOPBACK = Host("127.0.0.1", ipaddress.IPv4Address("127.0.0.1"))
"""Where members of one cluster, all on this host, meet each other."""


@attrs.frozen
class Site:
    """Where one member listens.

    Attributes:
        host: Where it listens for clients.
        port: Port for clients.
        peer_port: Port for other members, at loopback.
        tls: How clients speak to it, or `None` for plain HTTP.
    """

    host: Host
    port: int
    peer_port: int
    tls: Tls | None

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "https" if self.tls else "http"

    @property
    def endpoint(self) -> str:
        """``HOST:PORT`` for clients."""
        return f"{bracketed(self.host.told)}:{self.port}"

    @property
    def peer_url(self) -> str:
        """Where the other members reach it."""
        return f"http://{LOOPBACK.name}:{self.peer_port}"

    @property
    def flags(self) -> list[str]:
        """What etcd is told."""
        listen = f"{self.scheme}://{bracketed(str(self.host.address))}:{self.port}"
        return [
            *("--listen-client-urls", listen),
            *("--advertise-client-urls", f"{self.scheme}://{self.endpoint}"),
            *("--listen-peer-urls", self.peer_url),
            *("--initial-advertise-peer-urls", self.peer_url),
            *(self.tls.flags if self.tls else ()),
        ]


def free_ports(hosts: Sequence[Host]) -> list[int]:
    """Return a port for each, all different, that nobody uses now.

    Raises:
        UsageError: If this host does not have such an address.
    """
    with contextlib.ExitStack() as sockets:
        ports = []
        for host in hosts:
            is_ipv6 = isinstance(host.address, ipaddress.IPv6Address)
            family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
            bound = sockets.enter_context(socket.socket(family))
            try:
                bound.bind((str(host.address), 0))
            except OSError as error:
                raise UsageError(
                    f"can't listen at {host.name!r}: {error}; "
                    f"give an address of this host"
                ) from error
            ports.append(bound.getsockname()[1])
        return ports


def bracketed(host: str) -> str:
    """Return a host as it stands before a port."""
    return f"[{host}]" if ":" in host else host
