"""The monitor `output`: workers that write nothing, or not what they should."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

import attrs

from elaunch.api import Finding, MonitorParameters, OutputBlock, WatchedGroup
from elaunch.monitors.options import OutputOptions
from elaunch.monitors.rules import Rule, rules_of
from elaunch.monitors.written import Written


EARLY = 256
"""Blocks that are kept of workers that run before all do, and are watched only then."""


@attrs.define(eq=False)
class Output:
    """Judges what workers write; see `elaunch.monitor.Monitor`.

    It does so in the thread that carries the output, where the lines are: the loop
    hears of what was found alone.

    Attributes:
        params: What every monitor gets.
        options: Limits.

    Raises:
        UsageError: If a rule is wrong, or their file can't be read.
    """

    params: MonitorParameters
    options: OutputOptions
    _rules: Sequence[Rule] = attrs.field(init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _early: deque[OutputBlock] = attrs.field(
        factory=lambda: deque(maxlen=EARLY), init=False
    )
    _take: Callable[[OutputBlock], None] | None = attrs.field(default=None, init=False)
    _end: Callable[[], object] = attrs.field(default=bool, init=False)

    def __attrs_post_init__(self) -> None:
        self._rules = rules_of(self.options)

    def environment(self) -> Mapping[str, str]:
        """Follow the next group from its first word; its workers need not know."""
        self._end()
        self._early.clear()
        self._end = self.params.output.subscribe(self._hear)
        return {}

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        """Yield a finding for each limit or rule that is broken, and when it is over.

        Args:
            group: Whom to watch.
        """
        written = Written(self.options, self._rules, group)
        loop = asyncio.get_running_loop()
        found: asyncio.Queue[Finding] = asyncio.Queue()

        def take(block: OutputBlock) -> None:
            for finding in written.take(block, time.monotonic()):
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(found.put_nowait, finding)

        with self._lock:
            for block in self._early:
                take(block)
            self._take = take
        try:
            while True:
                yield await found.get()
        finally:
            self._end()
            self._take = None

    def _hear(self, block: OutputBlock) -> None:
        with self._lock:
            if self._take:
                self._take(block)
            else:
                self._early.append(block)
