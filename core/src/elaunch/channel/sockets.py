"""The sockets of one group's workers: one for each, in a directory for this user alone.

The kernel queues few datagrams for a socket (ten on most systems), so that one for all
workers would be full whenever they speak at once. What is read is bounded: a round of
reading takes a few milliseconds, and the agent reads for a tenth of its time at most.
Whoever sends more than that finds no room. To wake up costs an agent more than what it
reads then, so that messages gather.
"""

import asyncio
import contextlib
import json
import logging
import selectors
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from elaunch.channel import CHANNEL, places
from elaunch.channel.decoding import MAX_DATAGRAM, Malformed, decoded
from elaunch.feed import Feed
from elaunch.notice import Notice
from elaunch.worker_message import WorkerMessage


GATHER = 0.02
"""Seconds between two rounds of reading: what comes meanwhile is read at once."""

GATHER_LONGER = 0.05
"""The same after a round in which no worker had more than one message: by then none has
filled what the kernel queues for it."""

ROUND = 0.002
"""Seconds that a round may take, about."""

SHARE = 10
"""How many times as long as a round took the next one is put off, at least."""

LEFT_OVER = 1024
"""Datagrams that are read of a worker that has ended."""

logger = logging.getLogger(__name__)


@attrs.define(eq=False, repr=False)
class Channel:
    """Hears the workers of one group after the other.

    Attributes:
        messages: Told what they say.
    """

    messages: Feed[WorkerMessage]
    _place: places.Place | None = attrs.field(default=None, init=False)
    _sockets: Sequence[socket.socket] = attrs.field(default=(), init=False)
    _ready: selectors.DefaultSelector | None = attrs.field(default=None, init=False)
    _waits: bool = attrs.field(default=False, init=False)
    _turn: int = attrs.field(default=0, init=False)
    _sweeper: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    _swept: bool = attrs.field(default=False, init=False)
    _next: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    _warned: set[int] = attrs.field(factory=set, init=False)

    def open(self, workers: int) -> Mapping[str, str]:
        """Make sockets for so many workers, in place of those before.

        Returns:
            What they get of it: a template. Nothing where there can be no channel.
        """
        self.close()
        try:
            place = self._make(workers)
        except (OSError, AttributeError) as error:
            logger.warning("workers have no channel to their agent: %s", error)
            self.close()
            return {}
        return {CHANNEL: f"{place.path}/{{local_rank}}"}

    def read(self) -> None:
        """Begin to read, on the running loop. What was said before has waited."""
        if self._sockets:
            self._ready = selectors.DefaultSelector()
            for local_rank, each in enumerate(self._sockets):
                self._ready.register(each, selectors.EVENT_READ, local_rank)
            self._wait()
        if self._place and not self._swept:
            parent = str(Path(self._place.path).parent)
            self._sweeper = asyncio.get_running_loop().call_later(
                places.SETTLED, self._sweep, parent
            )

    def drain(self, local_rank: int) -> None:
        """Read what a worker has said to the last: it has ended."""
        time = asyncio.get_running_loop().time()
        for _ in range(LEFT_OVER):
            if not self._read(local_rank, time):
                break

    def tell(self, notice: Notice) -> None:
        """Send a notice to whoever listens for one."""
        if self._place is None:
            return
        data = json.dumps(attrs.asdict(notice)).encode()
        with contextlib.suppress(OSError):
            for path in Path(self._place.path).iterdir():
                if path.suffix:
                    # It may have gone, or not hear what it was told before.
                    with contextlib.suppress(OSError):
                        self._sockets[0].sendto(data, str(path))

    def close(self) -> None:
        """Hear nobody any more. Twice is fine."""
        self._stop()
        if self._ready:
            self._ready.close()
            self._ready = None
        for each in self._sockets:
            each.close()
        self._sockets = ()
        self._warned.clear()
        if self._sweeper:
            self._sweeper.cancel()
            self._sweeper = None
        if self._place:
            self._place.remove()
            self._place = None

    def _make(self, workers: int) -> places.Place:
        self._place = place = places.make(workers)
        made: list[socket.socket] = []
        self._sockets = made
        for local_rank in range(workers):
            one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            made.append(one)
            one.settimeout(0)
            one.bind(f"{place.path}/{local_rank}")
        return place

    def _sweep(self, parent: str) -> None:
        """Remove what agents have left that were killed, once, and in a thread."""
        self._swept = True
        name = "elaunch-channel-sweep"
        threading.Thread(
            target=places.sweep, args=(parent,), name=name, daemon=True
        ).start()

    def _wait(self) -> None:
        """Read when something comes."""
        if self._ready is not None:
            asyncio.get_running_loop().add_reader(self._ready, self._read_at_once)
            self._waits = True

    def _read_at_once(self) -> None:
        self._stop()
        self._read_a_round()

    def _stop(self) -> None:
        """Neither wait nor read."""
        if self._waits and self._ready is not None:
            asyncio.get_running_loop().remove_reader(self._ready)
            self._waits = False
        if self._next:
            self._next.cancel()
            self._next = None

    def _read_a_round(self) -> None:
        """Read what has come, and look again soon: while workers speak nobody waits."""
        loop = asyncio.get_running_loop()
        # An agent that was stopped in a round has not worked for so long.
        until, worked = loop.time() + ROUND, time.thread_time()
        turns = self._read_all(until)
        if not turns:
            self._wait()
            return
        if self._sockets:  # whoever was told may have closed it
            few = turns == 1 and loop.time() <= until
            gather = GATHER_LONGER if few else GATHER
            later = max(gather, SHARE * (time.thread_time() - worked))
            self._next = loop.call_later(later, self._read_a_round)

    def _read_all(self, until: float) -> int:
        """Read one message of each worker in turn; return in how many turns some came.

        Args:
            until: When to leave the rest for later.
        """
        loop, turns = asyncio.get_running_loop(), 0
        while self._ready is not None:
            ranks = sorted(key.data for key, _ in self._ready.select(0))
            if not ranks:
                return turns
            turns += 1
            # Whoever comes late in one round comes early in the next.
            later = [rank for rank in ranks if rank < self._turn]
            for rank in (*ranks[len(later) :], *later):
                self._read(rank, loop.time())
                self._turn = rank + 1
                if loop.time() > until:
                    return turns
        return turns

    def _read(self, local_rank: int, time: float) -> bool:
        """Read one datagram; return whether there was one."""
        if local_rank >= len(self._sockets):
            return False  # whoever was told has closed it
        try:
            data = self._sockets[local_rank].recv(MAX_DATAGRAM + 1)
        except OSError:  # nothing more has come
            return False
        try:
            for message in decoded(data, local_rank, time):
                self.messages.tell(message)
        except Malformed as error:
            self._warn(local_rank, error)
        return True

    def _warn(self, local_rank: int, error: Malformed) -> None:
        if local_rank not in self._warned:
            self._warned.add(local_rank)
            logger.warning(
                "the worker of local rank %d said what is no message: %s",
                local_rank,
                error,
            )
