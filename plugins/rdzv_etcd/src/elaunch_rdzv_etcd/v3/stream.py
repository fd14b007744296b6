"""A watch of etcd as a stream: a thread reads it on behalf of an event loop."""

import asyncio
import contextlib
import threading
from typing import Any

import attrs

from elaunch_rdzv_etcd.trouble import Unavailable
from elaunch_rdzv_etcd.v3.gateway import Gateway


_AHEAD = 16  # messages that the thread reads before the loop has taken any


@attrs.define(eq=False)
class Stream:
    """What etcd says of the changes of one range. It has a connection of its own.

    Attributes:
        etcd: The connection.
        start: First key of the range.
        end: First key behind it.
        since: Revision after which changes are told.
        idle: Seconds of silence after which it ends.
    """

    etcd: Gateway
    start: bytes
    end: bytes
    since: int
    idle: float
    _loop: asyncio.AbstractEventLoop = attrs.field(init=False)
    _said: asyncio.Queue[dict[str, Any] | Exception] = attrs.field(init=False)
    _room: threading.Semaphore = attrs.field(init=False)
    _closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._said = asyncio.Queue()
        self._room = threading.Semaphore(_AHEAD)
        # A daemon: it can't hold up the end of the process.
        threading.Thread(
            target=self._read, name="elaunch-etcd-watch", daemon=True
        ).start()

    async def next(self) -> dict[str, Any] | Exception:
        """Return what etcd says next, or what has ended the stream."""
        said = await self._said.get()
        self._room.release()
        return said

    def close(self) -> None:
        """End it at once; its thread follows."""
        self._closed = True
        self.etcd.interrupt()
        self._room.release()

    def _read(self) -> None:
        try:
            for said in self.etcd.watch(self.start, self.end, self.since, self.idle):
                if not self._tell(said):
                    return
            self._tell(Unavailable("the stream of changes ended"))
        except Exception as error:  # noqa: BLE001 - told to the loop, which raises it
            self._tell(error)
        finally:
            self.etcd.close()

    def _tell(self, said: dict[str, Any] | Exception) -> bool:
        """Hand something over; return whether anybody still listens."""
        self._room.acquire()
        # The loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._said.put_nowait, said)
        return not self._closed
