"""The way from the threads of the endpoint to the agent's loop."""

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from elaunch.errors import ControlFailed
from elaunch.vitals import MemberStatus


PATIENCE = 10.0
"""Seconds that an answer of the agent, or of the job's store, may take."""

WINK = 0.5
"""Seconds in which a loop that goes round shows it."""

T = TypeVar("T")


class Controlled(Protocol):
    """An agent, as it is asked from outside. All on its loop."""

    async def members(self) -> Sequence[MemberStatus]:
        """Return how the nodes of the job are.

        Raises:
            ElaunchError: If the job can't tell.
        """

    async def drain(self, reason: str, peer: str) -> None:
        """Have this node leave the job, which goes on without it.

        Args:
            reason: Why, for people.
            peer: Who wants it.

        Raises:
            ControlFailed: If it can't be done now.
        """

    async def restart(self, reason: str, peer: str) -> None:
        """Have the workers of the whole job start anew, at no cost.

        Args:
            reason: Why, for people.
            peer: Who wants it.

        Raises:
            ElaunchError: If it can't be done now.
        """

    async def stop(self, reason: str, peer: str) -> None:
        """End the job, on all nodes.

        Args:
            reason: Why, for people.
            peer: Who wants it.

        Raises:
            ElaunchError: If it can't be done now.
        """


class Bridge:
    """Asks the agent, and whether its loop goes round.

    Attributes:
        ended: Set when the agent has ended.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._agent: Controlled | None = None
        self._pending: set[concurrent.futures.Future[Any]] = set()
        self._wink: tuple[float, threading.Event] | None = None

    def attach(self, agent: Controlled) -> None:
        """Let the agent be asked from now on."""
        with self._lock:
            self._agent = agent

    def detach(self) -> None:
        """Let nobody ask it any more, and nobody wait for it."""
        with self._lock:
            self._agent = None
            pending = tuple(self._pending)
        self.ended.set()
        for future in pending:
            future.cancel()

    def ask(self, question: Callable[[Controlled], Coroutine[Any, Any, T]]) -> T:
        """Ask the agent, from another thread, and return its answer.

        Raises:
            ControlFailed: If there is no agent, or it ends.
            TimeoutError: If it takes too long.
            ElaunchError: Whatever the agent raises.
        """
        with self._lock:
            if self._agent is None:
                raise ControlFailed("the agent does not run yet, or not any more")
            work = question(self._agent)
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
            self._pending.add(future)
        try:
            return future.result(PATIENCE)
        except TimeoutError:
            future.cancel()
            raise
        except concurrent.futures.CancelledError:
            raise ControlFailed("the agent has ended meanwhile") from None
        finally:
            with self._lock:
                self._pending.discard(future)

    def standstill(self) -> float:
        """Return for how many seconds, at least, the loop has not gone round.

        Nothing is done on the loop until somebody asks for this, so that a standstill
        is measured from the first time at which somebody did.
        """
        with self._lock:
            if self._wink is None or self._wink[1].is_set():
                self._wink = (time.monotonic(), threading.Event())
                self._loop.call_soon_threadsafe(self._wink[1].set)
            since, winked = self._wink
        return 0.0 if winked.wait(WINK) else time.monotonic() - since
