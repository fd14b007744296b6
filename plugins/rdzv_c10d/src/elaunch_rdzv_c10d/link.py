"""A session with a control store that outlives its connections.

Requests are pipelined. When the connection breaks, the link comes back by itself,
repeats what was not answered with the same ids and continues each watch where it
stopped. It stays away no longer than the leases of the session can live; then all who
wait are told. A later request tries again. A link belongs to one store: where another
one answers, whose revisions mean something else, it is of no use any more.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Callable, Iterator

import attrs

from elaunch.api import (
    NodeNotAdmitted,
    RendezvousUnreachable,
    StoreEvent,
    WatchCompacted,
)
from elaunch_rdzv_c10d.addresses import Endpoint
from elaunch_rdzv_c10d.calls import Call, Calls
from elaunch_rdzv_c10d.dial import (
    Connection,
    GivenUpError,
    HungUpError,
    NotAStoreError,
    back_off,
    dial,
    insist,
    reason_of,
)
from elaunch_rdzv_c10d.handshake import DeniedError, HandshakeError, UntrustedError
from elaunch_rdzv_c10d.messages import (
    WRITES,
    Answer,
    BrokenFrameError,
    Challenge,
    Changed,
    Compacted,
    Denied,
    Goodbye,
    Hello,
    Operation,
    Result,
    ServerMessage,
    Unwatch,
    Watch,
    Watching,
    Welcome,
    frame,
)
from elaunch_rdzv_c10d.security import Security


logger = logging.getLogger(__name__)

_GOODBYE_TIMEOUT = 2.0  # seconds
_CLOSED = "the store client is closed"
_HANG_UPS = 4  # in a row: no store is killed as often


@attrs.define(eq=False, repr=False)
class Watcher:
    """A watch of the session.

    Attributes:
        prefix: What is watched.
        last: Revision up to which every change has been received.
        events: Changes that were received and not taken yet, or why there are no more.
        current: Whether this connection has sent everything up to its last answer.
    """

    prefix: str
    last: int
    events: asyncio.Queue[StoreEvent | Exception] = attrs.field(
        factory=asyncio.Queue, init=False
    )
    current: bool = attrs.field(default=False, init=False)


@attrs.define(eq=False, repr=False)
class Link:
    """The client's side of a session.

    Attributes:
        endpoint: Where the store is.
        run_id: Id of the client's job.
        grace: Seconds the session shall outlive a connection that breaks.
        timeout: Seconds a request may take.
        security: What the client shows, and asks the store to show.
        patience: Returns until when, by the loop's clock, a broken connection is worth
            coming back to.
        on_session_lost: Called with the reason when the store has ended the session.
    """

    endpoint: Endpoint
    run_id: str
    grace: float
    timeout: float
    security: Security
    patience: Callable[[], float]
    on_session_lost: Callable[[str], None]
    welcome: Welcome | None = attrs.field(default=None, init=False)
    _connection: Connection | None = attrs.field(default=None, init=False)
    _coming_back: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _over: str = attrs.field(default="", init=False)  # why, once it is
    _last_error: str = attrs.field(default="", init=False)
    _revision: int = attrs.field(default=0, init=False)
    _calls: Calls = attrs.field(factory=Calls, init=False)
    _watchers: dict[int, Watcher] = attrs.field(factory=dict, init=False)
    _ids: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), init=False)

    async def open(self, timeout: float, on_waiting: Callable[[str], None]) -> None:  # noqa: ASYNC109 - its message tells how long it tried
        """Connect for the first time; try again until ``timeout`` seconds are over.

        Args:
            timeout: Seconds to try.
            on_waiting: Told why there is no connection yet: first when the first try
                failed, then every ten seconds.

        Raises:
            NodeNotAdmitted: If the store refuses this node.
            RendezvousUnreachable: If that fails, or something else answers.
        """
        hang_ups = itertools.count(1)

        async def attempt() -> None:
            try:
                await self._dial()
            except HungUpError as error:
                if next(hang_ups) == _HANG_UPS:
                    raise NotAStoreError(str(error)) from None
                raise

        try:
            await insist(
                attempt,
                OSError,
                timeout,
                lambda trouble: on_waiting(
                    f"the store at '{self.endpoint}': {trouble}"
                ),
            )
        except GivenUpError as error:
            raise RendezvousUnreachable(
                f"the store at '{self.endpoint}' can't be reached: {error}; "
                "is its host up, and the endpoint right?"
            ) from None
        except NotAStoreError as error:
            raise RendezvousUnreachable(
                f"what answers at '{self.endpoint}' is not an elaunch store "
                f"({error}); something else has taken this port: choose another"
            ) from error
        except UntrustedError as error:
            raise RendezvousUnreachable(
                f"what answers at '{self.endpoint}' can't be trusted: {error}; give "
                "every node of the job the same token, and certificates of one "
                "authority or none"
            ) from error
        except DeniedError as error:
            raise NodeNotAdmitted(
                f"the store at '{self.endpoint}' refuses this node: {error}"
            ) from error

    @property
    def trouble(self) -> str:
        """Why there is no connection; empty while there is one."""
        return "" if self._connection else self._last_error

    async def request(
        self,
        operation: Operation,
        timeout: float | None = None,  # noqa: ASYNC109 - its message tells how long
    ) -> Result:
        """Send an operation and return what came of it; `Refused` is a result, too.

        A connection that leaves a request without an answer is given up for a new one,
        because a network can lose a connection without telling either end.

        Args:
            operation: What to do.
            timeout: Seconds it may take; `None` takes those of the link.

        Raises:
            RendezvousUnreachable: If there is no answer in time. If the operation was
                sent, it may have been applied.
        """
        self._check_open()
        limit = self.timeout if timeout is None else timeout
        began_with = self._connection
        try:
            return await self._request(operation, limit)
        except TimeoutError:
            if began_with and began_with is self._connection:
                began_with.hang_up()
                self._on_lost(began_with, f"it was silent for {limit:g} s")
            raise RendezvousUnreachable(
                f"no answer from the store at '{self.endpoint}' within {limit:g} s: "
                f"{self._last_error}"
            ) from None

    async def watch(self, prefix: str, since: int) -> AsyncGenerator[StoreEvent, None]:
        """Yield every change under ``prefix`` after revision ``since``, in order.

        Raises:
            WatchCompacted: If changes after ``since`` are no longer known.
            RendezvousUnreachable: If the store is lost, or the link is closed.
        """
        self._check_open()
        number = next(self._ids)
        watcher = Watcher(prefix, since)
        self._watchers[number] = watcher
        if self._connection:
            self._connection.send(frame(Watch(number, prefix, since)))
        else:
            self._come_back()
        try:
            while True:
                event = await watcher.events.get()
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            if self._watchers.pop(number, None) and self._connection:
                self._connection.send(frame(Unwatch(number)))

    async def close(self) -> None:
        """End the session; whoever still waits is told. Twice is fine."""
        if self._over == _CLOSED:
            return
        self._over = _CLOSED
        if self._coming_back:
            self._coming_back.cancel()
            await asyncio.wait({self._coming_back})
        self._fail(_CLOSED)
        try:
            if self._connection:
                await self._request(Goodbye(), _GOODBYE_TIMEOUT)
        except (TimeoutError, RendezvousUnreachable) as error:
            # The session ends anyway, when its grace is over.
            logger.debug("no goodbye to the store at %s: %s", self.endpoint, error)
        finally:
            self._calls.close()
            if self._connection:
                self._connection.hang_up()
                self._connection = None
        # The transport closes its socket in the next turn of the loop.
        await asyncio.sleep(0)

    async def _request(self, operation: Operation, timeout: float) -> Result:  # noqa: ASYNC109 - the calls have one timer
        call = await self._calls.begin(operation, timeout)
        if self._over and not isinstance(operation, Goodbye):
            self._calls.forget(call)
            raise RendezvousUnreachable(self._over)
        if self._connection:
            self._send(self._connection, call)
        else:
            self._come_back()
        try:
            return await call.answer
        finally:
            if not call.sent:
                self._calls.forget(call)

    def _send(self, connection: Connection, call: Call) -> None:
        call.sent = True
        connection.send(frame(call.request))

    def _check_open(self) -> None:
        if self._over:
            raise RendezvousUnreachable(self._over)

    def _fail(self, reason: str) -> None:
        """Tell everybody who waits."""
        for call in self._calls:
            self._calls.fail(call, RendezvousUnreachable(reason))
        for watcher in self._watchers.values():
            watcher.events.put_nowait(RendezvousUnreachable(reason))
        self._watchers.clear()

    def _on_message(self, message: ServerMessage) -> None:
        match message:
            case Answer():
                self._revision = max(self._revision, message.revision)
                self._calls.take(message)
            case Changed(number, event):
                watcher = self._watchers.get(number)
                if watcher:
                    watcher.last = event.revision
                    watcher.events.put_nowait(event)
            case Watching(number, revision):
                watcher = self._watchers.get(number)
                if watcher:
                    watcher.last = max(watcher.last, revision)
                    watcher.current = True
            case Compacted(number):
                watcher = self._watchers.pop(number, None)
                if watcher:
                    watcher.events.put_nowait(_compacted(watcher))
            case Welcome() | Challenge() | Denied():
                raise BrokenFrameError("a second handshake")

    def _on_lost(self, connection: Connection, reason: str) -> None:
        if connection is not self._connection:
            return
        self._connection = None
        self._last_error = reason
        for call in self._calls:
            if call.answer.done():  # its caller has given up
                self._calls.forget(call)
        for watcher in self._watchers.values():
            if watcher.current:
                # Else its prefix, if it rarely changes, could be out of the server's
                # memory although nothing was missed.
                watcher.last = max(watcher.last, self._revision)
                watcher.current = False
        self._come_back()

    def _come_back(self) -> None:
        if self._over:
            self._fail(self._over)
        elif not self._coming_back:
            self._coming_back = asyncio.create_task(self._return())

    async def _return(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout_at(self.patience()):
                for delay in back_off():
                    try:
                        return await self._dial()
                    except (OSError, HandshakeError) as error:
                        self._last_error = reason_of(error)
                    await asyncio.sleep(delay)
        except TimeoutError:
            self._fail(
                f"the store at '{self.endpoint}' has been lost for "
                f"{loop.time() - began:.1f} s: {self._last_error}"
            )
        finally:
            self._coming_back = None

    async def _dial(self) -> None:
        session = self.welcome.session if self.welcome else None
        hello = Hello(self.run_id, self.grace, session)
        connection, welcome = await dial(
            self.endpoint, hello, self.security, self._on_message, self._on_lost
        )
        before = self.welcome
        if before and before.store != welcome.store:
            connection.hang_up()
            self._end()
            return
        self.welcome = welcome
        self._connection = connection
        if before and not welcome.resumed:
            self._start_over()
        for number, watcher in self._watchers.items():
            connection.send(frame(Watch(number, watcher.prefix, watcher.last)))
        for call in self._calls:
            self._send(connection, call)

    def _end(self) -> None:
        """Be of no use any more: the store that this link belongs to is no more."""
        self._over = (
            f"the store at '{self.endpoint}' was restarted and has forgotten everything"
        )
        self.on_session_lost(self._over)
        self._fail(self._over)

    def _start_over(self) -> None:
        """Give up what can't be carried into a new session."""
        reason = (
            f"the store at '{self.endpoint}' ended the session: the connection was "
            "broken for too long"
        )
        self.on_session_lost(reason)
        for call in self._calls:
            if call.sent and isinstance(call.request.operation, WRITES):
                error = RendezvousUnreachable(f"{reason}; a write may be lost")
                self._calls.fail(call, error)


def _compacted(watcher: Watcher) -> WatchCompacted:
    return WatchCompacted(
        f"changes of {watcher.prefix!r} after revision {watcher.last} are forgotten"
    )
