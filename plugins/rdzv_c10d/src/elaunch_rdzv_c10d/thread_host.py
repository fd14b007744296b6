"""A store server in a thread of its own.

A torch client has no deadline on most of its reads: a store that stops serving hangs
its workers for ever. So the loop that serves shares its thread with nothing else. It is
uvloop's where that is installed.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import attrs

from elaunch_rdzv_c10d.addresses import for_others, listen, resolve
from elaunch_rdzv_c10d.budget import MAX_BYTES, Budget
from elaunch_rdzv_c10d.security import UNPROTECTED, Security
from elaunch_rdzv_c10d.server import StoreServer
from elaunch_rdzv_c10d.sessions import Sessions
from elaunch_rdzv_c10d.table import KeyTable


_THREAD_TIMEOUT = 10.0  # seconds that starting or ending the thread may take

_CONTROL_ROOM = 256 * 1024 * 1024
"""Bytes for TCPStore clients beside agents, which use none themselves."""


@attrs.define(eq=False, repr=False)
class ThreadedServer:
    """Hosts one store; started and stopped once, from asyncio code.

    Attributes:
        run_id: Id of the job that hosts it.
        control: Whether agents may use it as the job's control store; if not, it
            serves TCPStore clients only.
        security: What agents must show before they may.
        admits: Whether to serve who connects from an address; `None` serves all. Called
            in the thread.
        addresses: What is listened at.
    """

    run_id: str = ""
    control: bool = True
    security: Security = UNPROTECTED
    admits: Callable[[str], bool] | None = None
    addresses: tuple[str, ...] = attrs.field(default=(), init=False)
    _sessions: Sessions | None = attrs.field(default=None, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _ready: Future[None] = attrs.field(factory=Future, init=False)
    _stopping: Future[None] = attrs.field(factory=Future, init=False)
    _ended: Future[None] = attrs.field(factory=Future, init=False)

    async def start(
        self, host: str, port: int, *, shared: bool = False
    ) -> tuple[str, int]:
        """Listen at every address of ``host`` that belongs to this machine, and serve.

        Args:
            host: Name or address; nothing else is listened at.
            port: Port; 0 for a free one.
            shared: Whether other machines must get through, see `for_others`.

        Returns:
            The first address and the port that are listened at.

        Raises:
            OSError: If none of the addresses can be listened at, or one of this
                machine's can't.
        """
        addresses = await resolve(host, port)
        listeners = listen(for_others(host, addresses) if shared else addresses)
        address: tuple[str, int] = listeners[0].getsockname()[:2]
        self.addresses = tuple(one.getsockname()[0] for one in listeners)
        self._thread = threading.Thread(
            target=self._run, args=(listeners,), name="elaunch-store", daemon=True
        )
        self._thread.start()
        try:
            async with asyncio.timeout(_THREAD_TIMEOUT):
                await asyncio.shield(asyncio.wrap_future(self._ready))
        except BaseException:
            self._tell_to_stop()
            raise
        return address

    async def drained(self, timeout: float, besides: str | None = None) -> bool:  # noqa: ASYNC109 - the answer tells whether it passed
        """Wait until no agent's session is left but the one with the id ``besides``.

        Returns:
            Whether that came true within ``timeout`` seconds.
        """
        if self._sessions is None or self._loop is None or self._ended.done():
            return True
        waiting = self._sessions.drained(timeout, besides)
        return await asyncio.wrap_future(
            asyncio.run_coroutine_threadsafe(waiting, self._loop)
        )

    async def stop(self) -> None:
        """Abort all connections and end the thread. Twice is fine."""
        if self._thread is None:
            return
        self._tell_to_stop()
        async with asyncio.timeout(_THREAD_TIMEOUT):
            await asyncio.shield(asyncio.wrap_future(self._ended))
        self._thread.join()  # it has nothing left to do

    def _tell_to_stop(self) -> None:
        if not self._stopping.done():
            self._stopping.set_result(None)

    def _run(self, listeners: Sequence[socket.socket]) -> None:
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._serve(listeners))
        except OSError as error:
            # No descriptors left for a loop: the one who starts us shall know.
            for listener in listeners:
                listener.close()
            self._ready.set_exception(error)
        finally:
            self._ended.set_result(None)

    async def _serve(self, listeners: Sequence[socket.socket]) -> None:
        self._sessions = Sessions(self.run_id) if self.control else None
        room = _CONTROL_ROOM if self.control else MAX_BYTES
        server = StoreServer(
            self._sessions,
            self.security,
            admits=self.admits,
            table=KeyTable(Budget(room)),
        )
        await server.start(listeners)
        self._loop = asyncio.get_running_loop()
        self._ready.set_result(None)
        await asyncio.wrap_future(self._stopping)
        await server.stop()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # it is the extra 'speed'
        return None
    return uvloop.new_event_loop
