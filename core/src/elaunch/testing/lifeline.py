"""A lifeline: how a test learns that real processes are ready, and that they are dead.

No sleeping and no looking at process tables: each process opens a named pipe, writes a
line when it is ready, and holds the pipe as long as it lives. The kernel closes it with
the process, whatever the process died of, so the end of the pipe is the end of all.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Self

import attrs


HOLD = """
import os
_lifeline = open(os.environ["LIFELINE"], "w", buffering=1)
print(os.getpid(), file=_lifeline)
"""
"""Python code by which a process takes hold of the lifeline: it says its pid."""


@attrs.define(eq=False)
class Lifeline:
    """The test's end of a named pipe that processes hold.

    Use it as an async context manager.

    Attributes:
        path: Path of the pipe; processes find it in the variable ``LIFELINE``.
    """

    path: Path
    _reader: asyncio.StreamReader = attrs.field(init=False)
    _transport: asyncio.BaseTransport = attrs.field(init=False)

    async def __aenter__(self) -> Self:
        """Make the pipe and open it."""
        os.mkfifo(self.path)
        loop = asyncio.get_running_loop()
        self._reader = asyncio.StreamReader()
        # Opened for reading alone: a writing end of our own would hide the end.
        pipe = os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK), "rb")
        self._transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._reader), pipe
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the pipe."""
        self._transport.close()
        await asyncio.sleep(0)  # the transport closes its file in the next turn

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to take hold."""
        return {"LIFELINE": str(self.path)}

    def touch(self) -> None:
        """Hold it for a moment, where a process may have died before it could."""
        # OSError: the end was seen already, so that nobody reads any more.
        with contextlib.suppress(OSError):
            os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))

    async def held_by(self, count: int, timeout: float = 120.0) -> list[int]:  # noqa: ASYNC109 - callers name one number
        """Wait until ``count`` more processes hold it; return their pids.

        Raises:
            TimeoutError: If they don't within ``timeout`` seconds.
        """
        async with asyncio.timeout(timeout):
            return [int(await self._reader.readline()) for _ in range(count)]

    async def released(self, timeout: float = 20.0) -> bool:  # noqa: ASYNC109 - as above
        """Tell whether all who held it are dead, now or within ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._reader.read()
        except TimeoutError:
            return False
        return True
