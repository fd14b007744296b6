"""What the client processes of store.py do.

The raw clients send requests that were encoded before the clock started and don't look
into the replies, so that they cost little and the same for every server.
"""

import datetime as dt
import functools
import itertools
import os
import socket
import struct
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING

import attrs
from store_servers import HOST

from elaunch_rdzv_c10d.client import Store
from elaunch_rdzv_c10d.wire import I64, U32, U64, Op, blob, blobs, counted, hello


if TYPE_CHECKING:
    from torch.distributed import TCPStore

LOOPBACK = "lo"
VALUE = b"v" * 32
PING = bytes((Op.PING,)) + U32.pack(7)
REPLY_WAIT = 30
"""Seconds that a raw client waits for a reply: SO_RCVTIMEO, so that nothing hangs."""

_BATCH = 8  # operations between two looks at the clock


@attrs.frozen
class Done:
    """What one client did.

    Attributes:
        operations: How many.
        begin: When it began, by the clock that all processes share.
        end: When it ended.
    """

    operations: int
    begin: float
    end: float


class Raw:
    """A connection that sends bytes and takes as many as were asked for."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit = struct.pack("ll", REPLY_WAIT, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self.send = self.socket.sendall
        self.send(hello(7))

    def take(self, size: int) -> None:
        """Wait for the next ``size`` bytes."""
        if len(self.socket.recv(size, socket.MSG_WAITALL)) != size:
            raise ConnectionError("the server closed the connection")

    def close(self) -> None:
        """Close it."""
        self.socket.close()


def connected(port: int) -> Raw:
    """Return a connection that the server has answered."""
    raw = Raw(port)
    raw.take(U32.size)
    return raw


def _key(name: str, number: int) -> bytes:
    return b"/bench/%s/%d" % (name.encode(), number)


def _repeat(seconds: float, operation: Callable[[], object]) -> Done:
    operations = 0
    begin = now = time.monotonic()
    while now < begin + seconds:
        for _ in range(_BATCH):
            operation()
        operations += _BATCH
        now = time.monotonic()
    return Done(operations, begin, now)


def raw_set(number: int, port: int, seconds: float) -> Generator[None, None, Done]:
    """Set one key again and again; what counts is what the server has done."""
    raw = connected(port)
    frame = bytes((Op.SET,)) + blob(_key("set", number)) + blob(VALUE)
    yield
    done = _repeat(seconds, lambda: raw.send(frame))
    raw.send(PING)
    raw.take(U32.size)
    done = attrs.evolve(done, end=time.monotonic())
    raw.close()
    return done


def raw_get(number: int, port: int, seconds: float) -> Generator[None, None, Done]:
    """Get one key again and again, without the wait that a client sends before."""
    raw = connected(port)
    key = blob(_key("get", number))
    raw.send(bytes((Op.SET,)) + key + blob(VALUE))
    return (yield from _requests(raw, bytes((Op.GET,)) + key, 8 + len(VALUE), seconds))


def raw_add(number: int, port: int, seconds: float) -> Generator[None, None, Done]:
    """Add to one key again and again."""
    frame = bytes((Op.ADD,)) + blob(_key("add", number)) + I64.pack(1)
    return (yield from _requests(connected(port), frame, I64.size, seconds))


def raw_multi_get(
    number: int, port: int, seconds: float, keys: int
) -> Generator[None, None, Done]:
    """Get so many keys at once."""
    raw = connected(port)
    names = [_key(f"multi/{number}", at) for at in range(keys)]
    pairs = [part for name in names for part in (name, VALUE)]
    raw.send(bytes((Op.MULTI_SET,)) + U64.pack(keys) + blobs(pairs))
    frame = bytes((Op.MULTI_GET,)) + counted(names)
    size = keys * (U64.size + len(VALUE))
    return (yield from _requests(raw, frame, size, seconds))


def _requests(
    raw: Raw, frame: bytes, size: int, seconds: float
) -> Generator[None, None, Done]:
    def operation() -> None:
        raw.send(frame)
        raw.take(size)

    yield

    done = _repeat(seconds, operation)
    raw.close()
    return done


def ping_pong(
    number: int, port: int, rounds: int, salt: str
) -> Generator[None, None, tuple[Sequence[float], Sequence[float]]]:
    """Be one of two who wake each other; return when each set and when each woke."""
    raw = connected(port)
    mine, other = (_key(f"wake/{salt}/{who}", 0) for who in (number, 1 - number))
    frames = [
        (
            bytes((Op.SET,)) + blob(b"%s/%d" % (mine, at)) + blob(VALUE),
            bytes((Op.WAIT,)) + counted([b"%s/%d" % (other, at)]),
        )
        for at in range(rounds)
    ]
    setting, waiting = ([frame[which] for frame in frames] for which in (0, 1))
    # The first sets its key and waits for that of the second, who waits first.
    steps = (
        zip(setting, waiting, strict=True)
        if number == 0
        else zip(waiting, setting, strict=True)
    )
    sets, woken = [], []
    yield
    for frame in itertools.chain.from_iterable(steps):
        if frame[0] == Op.SET:
            sets.append(time.monotonic())
            raw.send(frame)
        else:
            raw.send(frame)
            raw.take(1)
            woken.append(time.monotonic())
    yield  # the other may not have woken yet
    raw.close()
    return sets, woken


def crowd(_: int, port: int, waiters: int, salt: str) -> Generator[None, None, float]:
    """Let many connections wait for one key; return the seconds until all woke."""
    key = _key(f"crowd/{salt}", 0)
    raws = [connected(port) for _ in range(waiters)]
    setter = connected(port)
    yield
    for raw in raws:
        raw.send(bytes((Op.WAIT,)) + counted([key]) + PING)
        raw.take(U32.size)  # so it waits
    begin = time.monotonic()
    setter.send(bytes((Op.SET,)) + blob(key) + blob(VALUE))
    for raw in raws:
        raw.take(1)
    end = time.monotonic()
    for raw in (*raws, setter):
        raw.close()
    return end - begin


def storm(_: int, port: int, sockets: int) -> Generator[None, None, float]:
    """Connect so many at once; return the seconds until all were answered."""
    yield
    begin = time.monotonic()
    raws = [Raw(port) for _ in range(sockets)]
    for raw in raws:
        raw.take(U32.size)
    end = time.monotonic()
    for raw in raws:
        raw.close()
    return end - begin


def fill(_: int, port: int, keys: int) -> Generator[None, None, None]:
    """Set so many keys, a thousand at once."""
    raw = connected(port)
    yield
    for first in range(0, keys, 1000):
        names = [_key("fill", at) for at in range(first, min(first + 1000, keys))]
        pairs = [part for name in names for part in (name, VALUE)]
        raw.send(bytes((Op.MULTI_SET,)) + U64.pack(len(names)) + blobs(pairs) + PING)
        raw.take(U32.size)
    raw.close()


def our_add(number: int, port: int, seconds: float) -> Generator[None, None, Done]:
    """Add with our client."""
    with Store(HOST, port) as store:
        yield
        return _repeat(seconds, lambda: store.add(f"ours/{number}", 1))


def our_get(number: int, port: int, seconds: float) -> Generator[None, None, Done]:
    """Wait and get with our client."""
    with Store(HOST, port) as store:
        store.set(f"ours/get/{number}", VALUE)
        yield
        return _repeat(seconds, lambda: store.get(f"ours/get/{number}"))


@functools.cache
def torch_store(port: int) -> "TCPStore":
    """Return this process's client of torch's.

    It looks up the name of the server's host when it connects, so once is enough.
    """
    from torch.distributed import TCPStore

    limit = dt.timedelta(seconds=60)
    return TCPStore(HOST, port, is_master=False, wait_for_workers=False, timeout=limit)


def torch_add(number: int, port: int, seconds: float) -> Generator[None, None, Done]:
    """Add with torch's client."""
    store = torch_store(port)
    yield
    return _repeat(seconds, lambda: store.add(f"torch/{number}", 1))


def torch_get(number: int, port: int, seconds: float) -> Generator[None, None, Done]:
    """Wait and get with torch's client."""
    store = torch_store(port)
    store.set(f"torch/get/{number}", VALUE)
    yield
    return _repeat(seconds, lambda: store.get(f"torch/get/{number}"))


def gloo(number: int, port: int, size: int, salt: str) -> Generator[None, None, Done]:
    """Be a rank that connects to all others through the store."""
    import torch.distributed as dist

    # By the name of this host gloo would ask a name server for its IPv6 addresses.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)
    store = dist.PrefixStore(f"gloo/{salt}", torch_store(port))
    # What torch imports only now is not to be measured.
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    dist.destroy_process_group()
    yield
    begin = time.monotonic()
    dist.init_process_group("gloo", store=store, rank=number, world_size=size)
    done = Done(1, begin, time.monotonic())
    yield  # others may still connect to this one
    dist.destroy_process_group()
    return done
