"""An event loop with virtual time and a seeded scheduler, shared by many processes.

Every callback belongs to the simulated process in whose context it was scheduled. The
callbacks of one process run in the order in which asyncio would run them; whose turn it
is, when several processes could run, is drawn by the seed. Time stands still while
anything can run and jumps to the next timer otherwise. The same seed gives the same
run.

The code under test is ordinary asyncio code: it tells time by ``loop.time()``, waits
with ``asyncio.timeout``, starts tasks, and, where the loop was given `Streams`, opens
connections. It must not use threads, real sockets or the wall clock for its decisions.
"""

import asyncio
import contextvars
import heapq
import itertools
import math
import random
import sys
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

import attrs

from elaunch.testing.simulation.stream_loop import StreamLoop


ResultT = TypeVar("ResultT")
Arguments = TypeVarTuple("Arguments")


class Stuck(Exception):
    """Nothing can run any more, and no timer is set: whoever waits, waits forever."""


@attrs.define(eq=False)
class Process:
    """One simulated operating-system process.

    Attributes:
        name: For stories.
        offset: What its monotonic clock shows more than the simulation's: clocks of two
            processes must never be compared.
        cost: Virtual seconds that each of its callbacks takes.
        paused: Whether it is stopped. What is due meanwhile runs when it wakes up.
        dead: Whether it was killed. Nothing of it runs any more.
        signals: Its signal handlers.
    """

    name: str
    offset: float = 0.0
    cost: float = 0.0
    paused: bool = attrs.field(default=False, init=False)
    dead: bool = attrs.field(default=False, init=False)
    signals: dict[int, Callable[[], object]] = attrs.field(factory=dict, init=False)
    context: contextvars.Context = attrs.field(init=False, repr=False)
    ready: deque[asyncio.Handle] = attrs.field(factory=deque, init=False, repr=False)
    # What arrived and which timers came due while it could not run: after a stall a
    # real loop reads its sockets before it runs overdue timers.
    arrived: list[asyncio.Handle] = attrs.field(factory=list, init=False, repr=False)
    overdue: list[asyncio.Handle] = attrs.field(factory=list, init=False, repr=False)
    busy: bool = attrs.field(default=False, init=False)
    queued: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.context = contextvars.copy_context()
        self.context.run(_PROCESS.set, self)


class _Task(asyncio.Task[Any]):
    """A task that hashes by its number.

    By default it is the address in memory, which differs from run to run, and with it
    the order in which those who keep sets of tasks cancel them.
    """

    def __init__(
        self, coro: Coroutine[Any, Any, Any], loop: "SimulatedLoop", **kwargs: Any
    ) -> None:
        self._number = next(loop.numbers)
        super().__init__(coro, loop=loop, **kwargs)

    def __hash__(self) -> int:
        return self._number


_PROCESS: contextvars.ContextVar[Process] = contextvars.ContextVar("_PROCESS")

_ARRIVAL, _TIMER = 0, 1
_MANY_CANCELLED = 10_000


class SimulatedLoop(StreamLoop):
    """The loop. Create processes with `process`, start coroutines in them with `spawn`.

    Args:
        seed: Decides whose turn it is.
    """

    def __init__(self, seed: int) -> None:
        self._running = False
        super().__init__()
        self.random = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self.now = 0.0
        self.steps = 0
        self.faults: list[str] = []
        self.after_step: Callable[[], None] | None = None
        self.processes: list[Process] = []
        self.numbers = itertools.count()
        self._order = itertools.count()
        self._timers: list[tuple[float, int, int, Process, asyncio.Handle]] = []
        self._cancelled = 0
        self._graves: list[asyncio.Task[Any]] = []
        self._runnable: list[Process] = []
        self._generators: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self.root = self.process("simulation")

    # -- processes -------------------------------------------------------------

    def process(self, name: str, offset: float = 0.0) -> Process:
        """Create a process."""
        process = Process(name, offset)
        self.processes.append(process)
        return process

    def spawn(
        self, process: Process, work: Coroutine[Any, Any, ResultT]
    ) -> asyncio.Task[ResultT]:
        """Run a coroutine in a process."""
        return self.create_task(work, context=process.context.copy())

    def kill(self, process: Process) -> None:
        """End a process without a chance to say anything, as SIGKILL does."""
        process.dead = True
        # The garbage collector must not end what it was doing: that would run its
        # ``finally`` clauses now or later, in whichever process runs then.
        self._graves.extend(asyncio.all_tasks(self))

    def pause(self, process: Process) -> None:
        """Stop a process, as SIGSTOP or a stalled host does."""
        process.paused = True

    def resume(self, process: Process) -> None:
        """Let a process go on; what was due meanwhile is late."""
        process.paused = False
        self._catch_up(process)

    def bury(self) -> None:
        """Let all processes run again, so that what they left behind can be ended."""
        for process in self.processes:
            process.dead = process.paused = process.busy = False
            process.cost = 0.0
            self._catch_up(process)

    def signal(self, process: Process, signum: int) -> None:
        """Send a signal; one without a handler ends the process."""
        handler = process.signals.get(signum)
        if handler is None:
            self.kill(process)
        else:
            self.call_soon(handler, context=process.context)

    def arrive(
        self,
        delay: float,
        process: Process,
        callback: Callable[..., object],
        *args: Any,
    ) -> None:
        """Let something reach a process from outside after ``delay`` seconds."""
        handle = asyncio.Handle(callback, args, self, process.context)
        self._at(self.now + delay, _ARRIVAL, process, handle)

    # -- what asyncio calls ----------------------------------------------------

    def time(self) -> float:
        """Return the time on the clock of the process that asks."""
        return self.now + self.asking().offset

    def call_soon(
        self,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Run a callback in the next turn of its process."""
        context = context or contextvars.copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._make_ready(context.get(_PROCESS, self.root), handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback after ``delay`` seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback when the clock of the process that asks shows ``when``."""
        context = context or contextvars.copy_context()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        offset = self.asking().offset
        moment = max(self.now, when - offset)
        if moment + offset < when:
            # Whoever is woken at a time must not find that it has not come.
            moment += math.ulp(when)
        self._at(moment, _TIMER, context.get(_PROCESS, self.root), handle)
        return handle

    def create_task(  # type: ignore[override] # typeshed's signature differs by version
        self,
        coro: Coroutine[Any, Any, ResultT],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **_: Any,
    ) -> asyncio.Task[ResultT]:
        """Start a task in the process of its context."""
        return _Task(coro, self, name=name, context=context)

    def asking(self) -> Process:
        """Return the process that asks."""
        return _PROCESS.get(self.root)

    def add_signal_handler(
        self,
        sig: int,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
    ) -> None:
        """Install a handler of the process that asks."""
        _PROCESS.get().signals[sig] = lambda: callback(*args)

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove a handler of the process that asks."""
        return _PROCESS.get().signals.pop(sig, None) is not None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what went wrong where nobody waited for it."""
        process = self.asking()
        error = context.get("exception")
        self.faults.append(f"{process.name}: {context.get('message')}: {error!r}")

    def is_running(self) -> bool:
        """Whether `run_until_complete` is under way."""
        return self._running

    def close(self) -> None:
        """Forget everything."""
        self._timers.clear()
        self._runnable.clear()
        self._graves.clear()
        super().close()

    def run_until_complete(self, future: Any) -> Any:
        """Run until a future or coroutine of the simulation itself is done.

        Raises:
            Stuck: If it can't become done any more.
        """
        task = asyncio.ensure_future(future, loop=self)
        hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)  # noqa: SLF001 - what every loop calls
        self._running = True
        sys.set_asyncgen_hooks(self._generators.add, self._finalize)
        try:
            while not task.done():
                self.step()
        finally:
            sys.set_asyncgen_hooks(*hooks)
            self._running = False
            asyncio._set_running_loop(None)  # noqa: SLF001 - as above
        return task.result()

    async def shutdown_asyncgens(self) -> None:
        """Close the asynchronous generators that nobody finished."""
        await asyncio.gather(
            *(generator.aclose() for generator in tuple(self._generators)),
            return_exceptions=True,
        )

    # -- the scheduler ---------------------------------------------------------

    def step(self) -> None:
        """Run one callback, or let time jump to the next timer.

        Raises:
            Stuck: If there is neither.
        """
        while not self._runnable:
            self._jump()
        process = self._draw()
        if not process.ready or not _can_run(process):
            return
        handle = process.ready.popleft()
        if not handle.cancelled():
            self.steps += 1
            handle._run()  # noqa: SLF001 - what every loop calls
            if process.cost:
                self._tire(process)
            if self.after_step:
                self.after_step()
        self._queue(process)

    def _draw(self) -> Process:
        """Take one of the processes that could run, whichever the seed says."""
        runnable = self._runnable
        index = int(self.random.random() * len(runnable))
        runnable[index], runnable[-1] = runnable[-1], runnable[index]
        process = runnable.pop()
        process.queued = False
        return process

    def _tire(self, process: Process) -> None:
        """Let a slow process rest for what its callback cost."""
        process.busy = True
        rested = asyncio.Handle(self._rested, (process,), self, self.root.context)
        self._at(self.now + process.cost, _TIMER, self.root, rested)

    def _rested(self, process: Process) -> None:
        process.busy = False
        self._catch_up(process)

    def _catch_up(self, process: Process) -> None:
        if _can_run(process):
            process.ready.extend(process.arrived)
            process.ready.extend(process.overdue)
            process.arrived.clear()
            process.overdue.clear()
            self._queue(process)

    def _jump(self) -> None:
        if not self._timers:
            waiting = sorted(f"{task.get_coro()}" for task in asyncio.all_tasks(self))
            raise Stuck(f"nothing will ever happen; waiting: {waiting}")
        self.now = max(self.now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self.now:
            _, kind, _, process, handle = heapq.heappop(self._timers)
            if handle.cancelled():
                continue
            if _can_run(process):
                self._make_ready(process, handle)
            elif kind == _ARRIVAL:
                process.arrived.append(handle)
            else:
                process.overdue.append(handle)

    def _at(
        self, when: float, kind: int, process: Process, handle: asyncio.Handle
    ) -> None:
        if not process.dead:
            entry = (when, kind, next(self._order), process, handle)
            heapq.heappush(self._timers, entry)

    def _make_ready(self, process: Process, handle: asyncio.Handle) -> None:
        process.ready.append(handle)
        self._queue(process)

    def _queue(self, process: Process) -> None:
        if process.ready and not process.queued and _can_run(process):
            process.queued = True
            self._runnable.append(process)

    def _timer_handle_cancelled(self, _: asyncio.TimerHandle) -> None:
        """Drop the cancelled timers before they fill the heap; asyncio calls this."""
        self._cancelled += 1
        if self._cancelled > max(_MANY_CANCELLED, len(self._timers) // 2):
            self._timers = [t for t in self._timers if not t[-1].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled = 0

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self.is_closed():
            self.create_task(generator.aclose())


def _can_run(process: Process) -> bool:
    return not (process.paused or process.busy or process.dead)
