"""What handlers of a program's own need to read their parameters."""

import re

from elaunch.errors import UsageError


__all__ = ["parse_rendezvous_endpoint"]

_HOST = re.compile(r"[\w.:-]+")
_PORT = re.compile(r"[0-9]{1,5}")
_LAST_PORT = 65_535


def parse_rendezvous_endpoint(
    endpoint: str | None, default_port: int
) -> tuple[str, int]:
    """Return host and port of ``HOST``, ``HOST:PORT``, ``[ADDRESS]`` or both.

    Args:
        endpoint: The endpoint; ``localhost`` where it is empty.
        default_port: Port where it names none.

    Raises:
        UsageError: If it names no host, or what can be no port.
    """
    text = (endpoint or "").strip() or "localhost"
    named = ":" in text and not text.endswith("]")
    host, _, port = text.rpartition(":") if named else (text, "", "")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not _HOST.fullmatch(host):
        raise UsageError(
            f"the host of the endpoint {endpoint!r} is neither a name nor an address"
        )
    if not named:
        return host, default_port
    if not _PORT.fullmatch(port) or int(port) > _LAST_PORT:
        raise UsageError(
            f"the port of the endpoint {endpoint!r} is a number up to {_LAST_PORT}, "
            f"not {port!r}"
        )
    return host, int(port)
