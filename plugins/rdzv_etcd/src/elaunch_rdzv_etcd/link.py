"""Blocking requests, run in threads on behalf of an event loop, with deadlines."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from elaunch.api import RendezvousUnreachable
from elaunch_rdzv_etcd.ring import ClientT, Ring
from elaunch_rdzv_etcd.threads import DaemonThreads
from elaunch_rdzv_etcd.trouble import Busy, Refused, Unavailable


AnswerT = TypeVar("AnswerT")


@attrs.define(eq=False)
class Link(Generic[ClientT]):
    """Runs requests until one is answered, or the cluster was silent for too long.

    Attributes:
        ring: The endpoints.
        threads: How many requests may be under way at the same time.
        patience: Seconds without any answer after which a call gives up.
    """

    ring: Ring[ClientT]
    threads: int
    patience: float
    _executor: DaemonThreads = attrs.field(init=False)
    _slots: asyncio.Semaphore = attrs.field(init=False)
    _answered: float = attrs.field(default=0.0, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._executor = DaemonThreads(self.threads, "elaunch-etcd")
        self._slots = asyncio.Semaphore(self.threads)

    async def call(
        self, request: Callable[[ClientT], AnswerT], patience: float | None = None
    ) -> AnswerT:
        """Return the answer to a request, which is made again until there is one.

        Args and errors are those of `timed`.
        """
        answer, _ = await self.timed(request, patience)
        return answer

    async def timed(
        self, request: Callable[[ClientT], AnswerT], patience: float | None = None
    ) -> tuple[AnswerT, float]:
        """Return the answer to a request, and when the attempt began that got it.

        Args:
            request: Blocks; safe to be made again after it raised `Unavailable`, even
                while an earlier attempt is still under way.
            patience: Instead of that of the link.

        Raises:
            RendezvousUnreachable: If there was no answer in time, or a refusal.
        """
        patience = self.patience if patience is None else patience
        clock = asyncio.get_running_loop().time
        start = clock()
        # Waiting for a slot is no failure as long as others get their answers.
        async with self._slots:
            first = clock()
            attempt = 0
            trouble: Unavailable | None = None
            while True:
                limit = min(first, max(start, self._answered)) + patience
                began = clock()
                try:
                    if trouble and began >= limit:
                        raise trouble
                    answer = await self.attempt(request, limit)
                except Unavailable as error:
                    trouble = error
                    attempt += 1
                    left = limit - clock()
                    await asyncio.sleep(
                        self.ring.endure(error, attempt, left, patience)
                    )
                except Refused as error:
                    raise self.ring.refused(error) from error
                else:
                    self._answered = clock()
                    return answer, began

    async def attempt(
        self, request: Callable[[ClientT], AnswerT], limit: float
    ) -> AnswerT:
        """Make a request once, at the endpoint in use.

        Raises:
            Unavailable: If there was no answer by the time of the limit.
            Refused: If the cluster refuses.
            RendezvousUnreachable: If the link is closed.
        """
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        if loop.time() >= limit:
            raise Unavailable(self.ring.trouble)
        # Connecting and reading have a time-out each; resolving a name has none.
        enough = loop.time() + 3 * self.ring.target.timeout
        endpoint, client = self.ring.endpoint, self.ring.current
        try:
            async with asyncio.timeout_at(min(limit, enough)):
                answer = await loop.run_in_executor(self._executor, request, client)
        except TimeoutError:
            error = Unavailable("no answer in time")
            # Who had less time than an answer takes has not learnt anything new.
            known = self.ring.trouble_at(endpoint) if limit < enough else None
            self.ring.failed(endpoint, known or error)
            raise error from None
        except Busy:
            raise
        except Unavailable as error:
            self.ring.failed(endpoint, error)
            raise
        self.ring.answered(endpoint)
        return answer

    def close(self) -> None:
        """Accept no more requests; those under way end by their own time-outs."""
        self._closed = True
        self._executor.shutdown(wait=False)


def closed() -> RendezvousUnreachable:
    """Return the error for a client that is used after its end."""
    return RendezvousUnreachable("the store client is closed; open another")
