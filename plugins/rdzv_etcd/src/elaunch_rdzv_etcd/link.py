"""Blocking requests, run in threads on behalf of an event loop, with deadlines."""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import attrs

from elaunch.api import RendezvousUnreachable
from elaunch_rdzv_etcd.client import Refused, Unavailable
from elaunch_rdzv_etcd.target import Target


AnswerT = TypeVar("AnswerT")

_FIRST_PAUSE = 0.05  # seconds
_LONGEST_PAUSE = 1.0


def pause(attempt: int) -> float:
    """Return how long to wait after a failed attempt; many clients spread out."""
    longest: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(attempt, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, no secret


@attrs.define(eq=False)
class Link:
    """Runs requests until one is answered, or the server was silent for too long.

    Attributes:
        target: Where etcd is.
        threads: How many requests may be under way at the same time.
        patience: Seconds without any answer after which a call gives up.
    """

    target: Target
    threads: int
    patience: float
    trouble: str = attrs.field(default="", init=False)
    _executor: ThreadPoolExecutor = attrs.field(init=False)
    _slots: asyncio.Semaphore = attrs.field(init=False)
    _answered: float = attrs.field(default=0.0, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._executor = ThreadPoolExecutor(self.threads, "elaunch-etcd")
        self._slots = asyncio.Semaphore(self.threads)

    async def call(
        self, request: Callable[[], AnswerT], patience: float | None = None
    ) -> AnswerT:
        """Return the answer to a request, which is made again until there is one.

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
            while True:
                limit = min(first, max(start, self._answered)) + patience
                try:
                    answer = await self.attempt(request, limit)
                except Unavailable as error:
                    left = limit - clock()
                    if left <= 0:
                        raise self.unreachable(patience) from error
                    await asyncio.sleep(min(pause(attempt), left))
                    attempt += 1
                except Refused as error:
                    raise self.refused(error) from error
                else:
                    self._answered = clock()
                    return answer

    async def attempt(self, request: Callable[[], AnswerT], limit: float) -> AnswerT:
        """Make a request once.

        Raises:
            Unavailable: If there was no answer by the time of the limit.
            Refused: If the server refuses.
            RendezvousUnreachable: If the link is closed.
        """
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        if loop.time() >= limit:
            raise Unavailable(self.trouble)
        # Connecting and reading have a time-out each; resolving a name has none.
        limit = min(limit, loop.time() + 3 * self.target.timeout)
        try:
            async with asyncio.timeout_at(limit):
                return await loop.run_in_executor(self._executor, request)
        except TimeoutError:
            self.trouble = "no answer in time"
            raise Unavailable(self.trouble) from None
        except Unavailable as error:
            self.trouble = str(error)
            raise

    def unreachable(self, silence: float) -> RendezvousUnreachable:
        """Return the error for a server that was silent for so many seconds."""
        return RendezvousUnreachable(
            f"etcd at '{self.target}' has not answered for {silence:.3g} s: "
            f"{self.trouble or 'no answer in time'}; is it running, and is this its "
            f"client port?"
        )

    def refused(self, error: Refused) -> RendezvousUnreachable:
        """Return the error for a server that refuses."""
        return RendezvousUnreachable(
            f"etcd at '{self.target}' refuses: {error}; is this the right server?"
        )

    def close(self) -> None:
        """Accept no more requests; those under way end by their own time-outs."""
        self._closed = True
        self._executor.shutdown(wait=False)


def closed() -> RendezvousUnreachable:
    """Return the error for a client that is used after its end."""
    return RendezvousUnreachable("the store client is closed; open another")
