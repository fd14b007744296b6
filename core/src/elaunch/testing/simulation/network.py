"""A simulated network: connections in order, with delay, silence and sudden ends.

What TCP promises holds: what one side sends arrives whole and in order, or the
connection is lost. Everything else may happen: any delay, a partition during which
nothing arrives and nobody is told, a reset that loses what is under way. The order
between connections is free.
"""

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import attrs

from elaunch.testing.simulation.loop import Process, SimulatedLoop


@attrs.define(eq=False)
class End:
    """One side of a connection.

    Attributes:
        process: Who has it.
        on_message: Called with each message that arrives.
        on_lost: Called once when the connection is lost, with the reason.
        lost: Whether it is.
        ended: Whether the other side ended it, after everything it had sent.
    """

    process: Process
    network: "Network"
    on_message: Callable[[Any], None] = attrs.field(default=lambda _: None)
    on_lost: Callable[[str], None] = attrs.field(default=lambda _: None)
    peer: "End" = attrs.field(init=False)
    lost: bool = attrs.field(default=False, init=False)
    ended: bool = attrs.field(default=False, init=False)
    _last: float = attrs.field(default=0.0, init=False)
    _held: deque[Any] = attrs.field(factory=deque, init=False)

    def send(self, message: object) -> None:
        """Send a message; on a lost connection it goes nowhere."""
        if not self.lost:
            self.network.messages += 1
            self.network.on_send(message)
            self._transmit(message)

    def close(self) -> None:
        """End the connection after what was sent."""
        if not self.lost:
            self._transmit(_END)
            self._forget()

    def cut(self, reason: str) -> None:
        """Lose the connection on this side, as a reset does."""
        self._held.clear()
        if not self.lost:
            self._forget()
            self.network.loop.arrive(0.0, self.process, self.on_lost, reason)

    def vanish(self) -> None:
        """Lose the connection on this side, of which the other is not told."""
        self._held.clear()
        if not self.lost:
            self._forget()

    def release(self) -> None:
        """Transmit what a partition held back."""
        held, self._held = self._held, deque()
        for message in held:
            self._transmit(message)

    def _transmit(self, message: object) -> None:
        network = self.network
        if self._held or network.is_cut(self.process, self.peer.process):
            self._held.append(message)
            return
        now = network.loop.now
        self._last = max(self._last, now + network.delay())
        network.loop.arrive(self._last - now, self.peer.process, self._deliver, message)

    def _deliver(self, message: object) -> None:
        peer = self.peer
        if peer.lost:
            return
        if message is _END:
            peer.ended = True
            peer._forget()  # noqa: SLF001 - of the same class
            peer.on_lost("the connection was closed by the other side")
        else:
            peer.on_message(message)

    def _forget(self) -> None:
        self.lost = True
        self.network.ends[self.process].pop(self, None)


_END = object()


@attrs.define(eq=False)
class Network:
    """All connections of a simulation.

    Attributes:
        loop: The loop.
        random: Draws the delays.
        fastest: Fewest seconds that a message takes.
        slowest: Most seconds that a message takes.
        on_send: Told of each message that is sent.
        messages: How many messages were sent.
        closed: Whether nothing can be reached any more.
        ends: The open ends of each process.
    """

    loop: SimulatedLoop
    random: random.Random
    fastest: float = 0.0002
    slowest: float = 0.002
    on_send: Callable[[object], None] = lambda _: None
    messages: int = attrs.field(default=0, init=False)
    closed: bool = attrs.field(default=False, init=False)
    ends: dict[Process, dict[End, None]] = attrs.field(
        factory=lambda: defaultdict(dict), init=False
    )
    _silent: set[Process] = attrs.field(factory=set, init=False)
    _deaf: set[Process] = attrs.field(factory=set, init=False)
    _listeners: dict[str, tuple[Process, Callable[[End], None]]] = attrs.field(
        factory=dict, init=False
    )

    def delay(self) -> float:
        """Return how long the next message takes."""
        return self.random.uniform(self.fastest, self.slowest)

    def is_cut(self, source: Process, target: Process) -> bool:
        """Whether nothing gets from one process to the other now."""
        deaf = target in self._deaf
        return deaf or source in self._silent or target in self._silent

    def listen(
        self, address: str, process: Process, on_connect: Callable[[End], None]
    ) -> None:
        """Accept connections at an address."""
        self._listeners[address] = (process, on_connect)

    def is_listening(self, address: str) -> bool:
        """Whether somebody accepts connections at an address."""
        return address in self._listeners

    def ignore(self, address: str) -> None:
        """Accept no more connections at an address."""
        self._listeners.pop(address, None)

    async def connect(self, process: Process, address: str) -> End:
        """Connect to an address.

        Raises:
            OSError: If nobody listens there. While it is silent, it waits.
        """
        if self.closed:
            raise ConnectionRefusedError("the network is gone")
        await asyncio.sleep(self.delay())
        listener = self._listeners.get(address)
        while listener and self._is_unreachable(process, listener[0]):
            await asyncio.sleep(_SYN_RETRY)
            listener = self._listeners.get(address)
        if listener is None or listener[0].dead or self.closed:
            raise ConnectionRefusedError(f"nobody listens at {address!r}")
        ours, theirs = End(process, self), End(listener[0], self)
        ours.peer, theirs.peer = theirs, ours
        self.ends[ours.process][ours] = self.ends[theirs.process][theirs] = None
        # A stalled host still accepts: its kernel does.
        self.loop.arrive(0.0, listener[0], listener[1], theirs)
        try:
            await asyncio.sleep(self.delay())
        except asyncio.CancelledError:
            ours.close()
            raise
        return ours

    def silence(self, process: Process) -> None:
        """Cut a process off: nothing arrives, nobody is told."""
        self._silent.add(process)

    def deafen(self, process: Process) -> None:
        """Let nothing reach a process; what it sends arrives."""
        self._deaf.add(process)

    def heal(self, process: Process) -> None:
        """Let it be reached again; what was sent meanwhile arrives late."""
        self._silent.discard(process)
        self._deaf.discard(process)
        for end in tuple(self.ends[process]):
            end.release()
            end.peer.release()

    def reset(self, process: Process) -> None:
        """Break every connection of a process; what is under way is lost."""
        for end in tuple(self.ends[process]):
            end.cut("the connection was reset")
            end.peer.cut("the connection was reset")

    def bury(self, process: Process) -> None:
        """Close what a killed process had open, as its kernel does."""
        for end in tuple(self.ends[process]):
            end.close()
        for address, listener in tuple(self._listeners.items()):
            if listener[0] is process:
                del self._listeners[address]

    def vanish(self, process: Process) -> None:
        """Take a process off the network, as a loss of power does: nobody is told."""
        for end in tuple(self.ends[process]):
            end.vanish()

    def _is_unreachable(self, one: Process, other: Process) -> bool:
        """Whether a connection can't be opened: that takes an answer."""
        return self.is_cut(one, other) or self.is_cut(other, one)

    def close(self) -> None:
        """End everything: who still asks is told at once."""
        self.closed = True
        for process in tuple(self.ends):
            self.reset(process)


_SYN_RETRY = 1.0
"""Seconds between two tries of a system to connect to who does not answer."""
