"""Endpoints: where the members of a cluster listen for clients."""

import re

import attrs

from elaunch.api import UsageError


DEFAULT_PORT = 2379

_TCP = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]+))?")
_UNIX = "unix:"
_MAX_PORT = 65_535


@attrs.frozen
class Endpoint:
    """Where one member listens.

    Attributes:
        host: Host name or address, an IPv6 address in brackets; ``localhost`` for a
            socket in the file system, where nothing looks it up.
        port: Port for clients.
        path: Path of the socket, or empty.
    """

    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}" if self.path else f"{self.host}:{self.port}"


def parse_endpoints(text: str) -> tuple[Endpoint, ...]:
    """Read ``HOST[:PORT]`` or ``unix:PATH``, or several of them with commas between.

    Raises:
        UsageError: If one of them is neither.
    """
    endpoints = (_parse(part.strip()) for part in text.split(","))
    return tuple(dict.fromkeys(endpoints))  # asking one twice finds no second answer


def _parse(text: str) -> Endpoint:
    if text.startswith(_UNIX) and len(text) > len(_UNIX):
        return Endpoint("localhost", DEFAULT_PORT, text.removeprefix(_UNIX))
    match = _TCP.fullmatch(text)
    if match is None:
        raise UsageError(
            f"an endpoint of etcd is HOST[:PORT] or unix:PATH, not {text!r}; write for "
            f"example --rdzv-endpoint etcd-1:{DEFAULT_PORT},etcd-2:{DEFAULT_PORT}"
        )
    port = int(match["port"] or DEFAULT_PORT)
    if port == 0:
        # What the launcher fills in where the user gave none.
        raise UsageError(
            f"a job that meets in etcd needs its endpoint; write for example "
            f"--rdzv-endpoint etcd-1:{DEFAULT_PORT},etcd-2:{DEFAULT_PORT}, or run "
            f"'elaunch etcd' to try it"
        )
    if not 0 < port <= _MAX_PORT:
        raise UsageError(
            f"the endpoint {text!r} of etcd has no valid port; "
            f"write one from 1 to {_MAX_PORT}"
        )
    return Endpoint(match["host"], port)
