"""The agent's side: a fork server to ask, and to hear from."""

import asyncio
import itertools
import os
import socket
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import attrs

from elaunch_spawn_local import foreground
from elaunch_spawn_local.fork_server.frames import Frames, pack
from elaunch_spawn_local.fork_server.launch import Launched
from elaunch_spawn_local.stdio import Stdio


_CHUNK = 64 * 1024


class ServerLost(Exception):
    """The fork server is gone, and with it the workers; the message says how."""


@attrs.frozen
class NotStarted(Exception):
    """A worker could not be started.

    Attributes:
        rank: Its local rank.
        error: What the system said.
    """

    rank: int
    error: OSError | ValueError


class Listener(Protocol):
    """Who hears of workers; called in the loop's thread."""

    def started(self, rank: int, pid: int) -> None:
        """A worker runs; told before its end is, and before `start` returns."""

    def exited(self, rank: int, status: int) -> None:
        """A worker ended, with this wait status."""

    def killed(self, pids: Sequence[int]) -> None:
        """A sweep sent SIGKILL to these."""

    def lost(self, reason: str) -> None:
        """The server is gone. Workers are dead; what they started may live."""


@attrs.define(eq=False, repr=False)
class ForkServer:
    """One fork server; use it in one loop.

    Args:
        launched: The process and the socket to it.
    """

    _launched: Launched
    _listener: Listener | None = attrs.field(default=None, init=False)
    _frames: Frames = attrs.field(factory=Frames, init=False)
    _outgoing: deque[tuple[bytes, Sequence[int]]] = attrs.field(
        factory=deque, init=False
    )
    _starts: dict[int, "asyncio.Future[None]"] = attrs.field(factory=dict, init=False)
    _numbers: Iterator[int] = attrs.field(factory=itertools.count, init=False)
    _ranks: dict[int, int] = attrs.field(factory=dict, init=False)
    _ready: "asyncio.Future[dict[str, Any]] | None" = attrs.field(
        default=None, init=False
    )
    _swept: "asyncio.Future[list[int]] | None" = attrs.field(default=None, init=False)
    _opened: bool = attrs.field(default=False, init=False)
    lost: str = attrs.field(default="", init=False)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._launched.pid

    async def open(self) -> dict[str, Any]:
        """Begin to listen; return what a server with preloaded modules first says.

        Raises:
            ServerLost: If it is gone before it has said that.
        """
        loop = asyncio.get_running_loop()
        if not self._opened:
            self._opened = True
            self._ready = loop.create_future()
            self._socket.setblocking(False)  # noqa: FBT003 - its only form
            loop.add_reader(self._socket, self._receive)
            if not self._launched.speaks_first:
                self._ready.set_result({"told": "ready", "found": []})
        assert self._ready is not None  # noqa: S101 - for mypy
        return await asyncio.shield(self._ready)

    def listen(self, listener: Listener | None) -> None:
        """Name who hears of the workers that are started from now on."""
        self._listener = listener
        # A number is for one worker of one group: who ends late is not mistaken for
        # whoever has its rank by then.
        self._ranks.clear()
        if listener and self.lost:
            listener.lost(self.lost)

    def start(
        self, rank: int, request: Mapping[str, Any], stdio: Stdio
    ) -> "asyncio.Future[None]":
        """Ask for a worker; the future is done when it runs.

        The descriptors stay the caller's, to be closed when the future is done.

        Raises:
            ServerLost: In the future, as `NotStarted` where it can't be done.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.lost:
            future.set_exception(ServerLost(self.lost))
            return future
        number = next(self._numbers)
        self._starts[rank], self._ranks[number] = future, rank
        message = {
            "do": "start",
            "worker": number,
            "terminal": stdio.terminal,
            "lender": foreground.own_group(stdio.stdin) if stdio.terminal else 0,
            **request,
        }
        self._send(message, stdio.descriptors)
        return future

    def signal(self, rank: int, signum: int) -> None:
        """Send a signal to the process group of a worker that was not reaped."""
        for number, known in self._ranks.items():
            if known == rank:
                self._send({"do": "signal", "worker": number, "signum": int(signum)})

    def keep_house(self, path: str) -> None:
        """Name a directory to be removed when this process could not do it."""
        self._send({"do": "home", "path": path})

    async def sweep(self, limit: float) -> Sequence[int]:
        """Kill all workers and all that they started; return who is left.

        Args:
            limit: Seconds to wait for the end of what was killed.

        Raises:
            ServerLost: If the server is gone, or does not answer.
        """
        if self.lost:
            raise ServerLost(self.lost)
        if self._swept is None:
            self._swept = asyncio.get_running_loop().create_future()
            self._send({"do": "sweep", "limit": limit})
        try:
            async with asyncio.timeout(limit + 1.0):
                return await asyncio.shield(self._swept)
        except TimeoutError:
            self._swept = None
            self._lose("it does not answer")
            raise ServerLost(self.lost) from None

    async def close(self) -> None:
        """Let it end what is left, and itself. Twice is fine."""
        ready = self._ready is not None and self._ready.done()
        self._detach()
        await asyncio.to_thread(self._launched.end, at_once=not ready)

    @property
    def _socket(self) -> socket.socket:
        return self._launched.socket

    # -- the connection -----------------------------------------------------------

    def _send(
        self, message: Mapping[str, Any], descriptors: Sequence[int] = ()
    ) -> None:
        if self.lost:
            return
        waiting = bool(self._outgoing)
        # Copies: the caller may close his own before these are sent.
        copies = [os.dup(descriptor) for descriptor in descriptors]
        self._outgoing.append((pack(dict(message)), copies))
        if not waiting:
            self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._outgoing:
            data, descriptors = self._outgoing[0]
            try:
                if descriptors:
                    sent = socket.send_fds(self._socket, [data], descriptors)
                else:
                    sent = self._socket.send(data)
            except BlockingIOError:
                loop.add_writer(self._socket, self._flush)
                return
            except OSError as error:
                self._lose(os.strerror(error.errno or 0))
                return
            # Descriptors went with the first byte.
            _close(descriptors)
            self._outgoing[0] = (data[sent:], ())
            if sent == len(data):
                self._outgoing.popleft()
        loop.remove_writer(self._socket)

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose("it was killed, or failed")
        for answer in self._frames.feed(data):
            self._hear(answer)

    def _hear(self, answer: dict[str, Any]) -> None:
        rank = self._ranks.get(answer.get("worker", -1))
        match answer["told"]:
            case "started" if rank is not None:
                if self._listener:
                    self._listener.started(rank, answer["pid"])
                self._settle(rank, None)
            case "failed" if rank is not None:
                number, reason = answer["errno"], answer.get("reason")
                error = (
                    ValueError(reason)
                    if number is None
                    else OSError(number, os.strerror(number))
                )
                self._settle(rank, NotStarted(rank, error))
            case "exited" if self._listener and rank is not None:
                self._listener.exited(rank, answer["status"])
            case "killed" if self._listener:
                self._listener.killed(answer["pids"])
            case "swept" if self._swept:
                swept, self._swept = self._swept, None
                if not swept.done():
                    swept.set_result(answer["left"])
            case "ready" | "unloaded" | "obstructed" if self._ready:
                self._ready.set_result(answer)

    def _settle(self, rank: int, failure: Exception | None) -> None:
        future = self._starts.pop(rank, None)
        if future is None or future.done():
            return
        if failure:
            future.set_exception(failure)
        else:
            future.set_result(None)

    def _lose(self, reason: str) -> None:
        if self.lost:
            return
        self._detach()
        self.lost = reason
        for rank in tuple(self._starts):
            self._settle(rank, ServerLost(reason))
        for future in (self._swept, self._ready):
            if future and not future.done():
                future.set_exception(ServerLost(reason))
        if self._listener:
            self._listener.lost(reason)

    def _detach(self) -> None:
        if self._opened and self._socket.fileno() >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
        for _, descriptors in self._outgoing:
            _close(descriptors)
        self._outgoing.clear()
        self._launched.hang_up()


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
