"""A proxy before an etcd server that loses answers and holds requests back."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import attrs


_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
_PIECE = 64 * 1024


@attrs.define(eq=False)
class EtcdProxy:
    """Passes each request on through a connection of its own.

    Attributes:
        upstream: Port of etcd.
        port: Port of the proxy.
        requests: Path of each request that came.
        drop: Paths; the next request for the first of them is carried out, but its
            answer is lost.
        hold: Paths; the next request for the first of them waits for `go_on`, also
            when the client has gone.
        held: Set when a request is held.
        go_on: Set to let requests go on.
        serving: The requests under way.
    """

    upstream: int
    port: int = attrs.field(default=0, init=False)
    requests: list[str] = attrs.field(factory=list, init=False)
    drop: list[str] = attrs.field(factory=list, init=False)
    hold: list[str] = attrs.field(factory=list, init=False)
    held: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    go_on: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    serving: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)

    @classmethod
    @contextlib.asynccontextmanager
    async def before(cls, upstream: int) -> AsyncIterator["EtcdProxy"]:
        """Serve at 127.0.0.1 as long as the block lasts."""
        proxy = cls(upstream)
        server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            await proxy.cut()

    async def settled(self) -> None:
        """Wait until no request is under way."""
        await asyncio.gather(*self.serving)

    async def cut(self) -> None:
        """Break all connections."""
        serving = tuple(self.serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def count(self, path: str) -> int:
        """Return how many requests for a path came."""
        return self.requests.count(path)

    def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                await self._pass_on(reader, writer)
            finally:
                writer.close()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        path = head.split()[1].decode()
        self.requests.append(path)
        if _take(self.hold, path):
            self.held.set()
            await self.go_on.wait()
        etcd_reader, etcd_writer = await asyncio.open_connection(
            "127.0.0.1", self.upstream
        )
        try:
            line, rest = head.split(b"\r\n", 1)
            etcd_writer.write(line + b"\r\nConnection: close\r\n" + rest + body)
            if _take(self.drop, path):
                await etcd_reader.read()
                return
            while piece := await etcd_reader.read(_PIECE):
                writer.write(piece)
                await writer.drain()
        finally:
            etcd_writer.close()


def _take(paths: list[str], path: str) -> bool:
    if paths[:1] != [path]:
        return False
    del paths[0]
    return True
