"""What this process says to etcd: its HTTP requests by kind, and all bytes.

Both APIs of etcd are HTTP, for torchrun's handler, too, so that one look at what goes
through the sockets counts for all of them.
"""

import re
import socket
import threading
from collections import Counter
from typing import Any

import attrs


WRITE, READ, GRANT, RENEW, WATCH, OTHER = KINDS = (
    "write",
    "read",
    "grant",
    "renew",
    "watch",
    "other",
)
"""A write may be a transaction of many; etcd's v2 API renews a lease by writes."""

_REQUEST = re.compile(rb"(GET|PUT|POST|DELETE) (\S+) HTTP/1.1\r\n")
_BY_PATH = {
    b"/v3/kv/txn": WRITE,
    b"/v3/kv/range": READ,
    b"/v3/lease/grant": GRANT,
    b"/v3/lease/keepalive": RENEW,
    b"/v3/watch": WATCH,
}
_V2 = b"/v2/keys"


@attrs.frozen
class Traffic:
    """What was said up to some moment, or between two.

    Attributes:
        requests: How many of each kind.
        bytes: Sent and received.
    """

    requests: Counter[str]
    bytes: int

    def __sub__(self, other: "Traffic") -> "Traffic":
        return Traffic(self.requests - other.requests, self.bytes - other.bytes)


_lock = threading.Lock()
_requests: Counter[str] = Counter()
_bytes = 0


def so_far() -> Traffic:
    """Return what was said since the beginning."""
    with _lock:
        return Traffic(Counter(_requests), _bytes)


def count() -> None:
    """Count what is said through sockets that are made from now on."""
    socket.socket = _CountedSocket  # type: ignore[misc] # that is the idea


class _CountedSocket(socket.socket):
    """A socket that counts what blocking clients of HTTP do with it."""

    def sendall(self, data: Any, flags: int = 0) -> None:
        _note(len(data), _kinds(bytes(data)))
        super().sendall(data, flags)

    def recv_into(self, *args: Any) -> int:
        length = super().recv_into(*args)
        _note(length, Counter())
        return length


def _note(length: int, kinds: Counter[str]) -> None:
    global _bytes  # noqa: PLW0603 - the sockets of a process have nothing in common
    with _lock:
        _bytes += length
        _requests.update(kinds)


def _kinds(data: bytes) -> Counter[str]:
    found = _REQUEST.match(data)
    if found is None:
        # The body of a write of the v2 API comes behind its head.
        renews = b"refresh=true" in data
        return Counter({WRITE: -1, RENEW: 1}) if renews else Counter()
    method, path = found.groups()
    if not path.startswith(_V2):
        return Counter([_BY_PATH.get(path, OTHER)])
    if method != b"GET":
        return Counter([WRITE])
    return Counter([WATCH if b"wait=true" in path else READ])
