"""Threads for what blocks, on behalf of an event loop."""

import contextlib
import functools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar


Args = ParamSpec("Args")
AnswerT = TypeVar("AnswerT")


class DaemonThreads(Executor):
    """An executor whose threads can't hold up the end of the process.

    Those of the standard library are waited for, and nothing ends one that looks up a
    name, or that reads from a server which never comes to an end.

    Args:
        most: How many threads there may be.
        name: What they are called.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._work = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._closed = False

    def submit(
        self, call: Callable[Args, AnswerT], /, *args: Args.args, **kwargs: Args.kwargs
    ) -> Future[AnswerT]:
        """Run something in one of the threads.

        Raises:
            RuntimeError: After `shutdown`.
        """
        future: Future[AnswerT] = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("no more work is taken after the shutdown")
            self._work.put((future, functools.partial(call, *args, **kwargs)))
            if not self._idle.acquire(blocking=False):
                self._start_another()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature of every executor
        """Take no more work; the threads end when they have done theirs."""
        with self._lock:
            self._closed = True
            if cancel_futures:
                with contextlib.suppress(queue.Empty):
                    while work := self._work.get_nowait():
                        work[0].cancel()
            for _ in self._threads:
                self._work.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _start_another(self) -> None:
        if len(self._threads) < self._most:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while work := self._work.get():
            _do(*work)
            del work  # or the last one would live on while there is nothing to do
            self._idle.release()


def _do(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - told to who waits for the future
        future.set_exception(error)
    else:
        future.set_result(result)
