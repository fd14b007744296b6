"""Whether this node is fit: its checks decide when it may take a place.

They are made before each join, when no worker runs. A node that is not fit joins all
the same, but withheld: it gets no place, and everybody hears why. Its checks go on
until it has a place: those that found a problem look again soon, and the others from
time to time, since a spare may wait for days.

So that the others neither wait for a check that takes long, nor count this node as dead
meanwhile, it is withheld also while one goes on for longer than they are patient.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import attrs

from elaunch.agent.tasks import Tasks
from elaunch.events import EventName, Record
from elaunch.preflight import NamedPreflight, PreflightContext, PreflightResult
from elaunch.rendezvous import Membership, RendezvousHandler
from elaunch.text import printable


QUICK = 1.0
"""Seconds that a node which comes checks itself before it says that it is here."""

PATIENCE = 5.0
"""Seconds beyond the shutdown timeout that the others wait for a member: they have a
few more before they count it as dead."""

RELEASE = 2.0
"""Seconds that a check gets to end when nobody waits for it any more."""

LONGEST_PROBLEM = 400
"""Characters of a problem that are told."""

LONGEST_REASON = 600
"""Characters of all of them together: what a node says of itself stays small."""


@attrs.define(eq=False, repr=False)
class _State:
    """What is known of one check.

    Attributes:
        named: The check.
        problem: What it found last; `None` while it has not answered yet.
    """

    named: NamedPreflight
    problem: str | None = None

    @property
    def keeps_out(self) -> str:
        """Why the node is kept out because of it, in one line; empty if it is not."""
        if self.problem is None:
            return f"preflight {self.named.name!r} is still under way"
        if self.problem and self.named.options.required:
            return f"preflight {self.named.name!r}: {self.problem}"
        return ""


@attrs.define(eq=False, repr=False, kw_only=True)
class Fitness:
    """Joins a job as a node that is fit, or is withheld until it is.

    Attributes:
        preflights: The checks.
        handler: This node's side of the rendezvous.
        shutdown_timeout: Seconds that workers get between signal and SIGKILL.
        record: Told what the checks find.
        tasks: Where what goes on at the same time runs.
    """

    preflights: Sequence[NamedPreflight]
    handler: RendezvousHandler
    shutdown_timeout: float
    record: Record
    tasks: Tasks
    _generation: int = attrs.field(default=0, init=False)
    _stopping_since: float | None = attrs.field(default=None, init=False)
    _checking: set[asyncio.Task[PreflightResult]] = attrs.field(factory=set, init=False)

    def stopping(self) -> None:
        """Note that the workers begin to be stopped: the others wait from now on."""
        if self._stopping_since is None:
            self._stopping_since = asyncio.get_running_loop().time()

    async def join(self) -> Membership:
        """Join; see `RendezvousHandler.join`.

        Raises:
            RendezvousError: Whatever the rendezvous raises.
        """
        if not self.preflights:
            return await self.handler.join()
        states = [_State(named) for named in self.preflights]
        news = asyncio.Event()
        work = [self.tasks.start(self._keep(state, news)) for state in states]
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._quiet_until()):
                    await _all_known(states, news)
            reason = _reason(states)
            await self.handler.withhold(reason)
            work.append(self.tasks.start(self._tell_changes(states, news, reason)))
            membership = await self.handler.join()
        finally:
            for task in work:
                task.cancel()
            await asyncio.wait(work)
        self._generation, self._stopping_since = membership.generation, None
        return membership

    def _quiet_until(self) -> float:
        """Return until when nobody minds that this node says nothing."""
        now = asyncio.get_running_loop().time()
        if not self._generation:
            return now + QUICK
        since = now if self._stopping_since is None else self._stopping_since
        return since + self.shutdown_timeout + PATIENCE

    async def _tell_changes(
        self, states: Sequence[_State], news: asyncio.Event, told: str
    ) -> None:
        """Tell each change of what keeps this node out."""
        while True:
            news.clear()
            reason = _reason(states)
            if reason != told:
                told = reason
                await self.handler.withhold(reason)
            await news.wait()

    async def _keep(self, state: _State, news: asyncio.Event) -> None:
        """Check again and again."""
        options, attempt = state.named.options, 0
        while True:
            attempt += 1
            problem = await self._check(state, attempt)
            if problem != state.problem:
                state.problem = problem
                news.set()
            pause = options.retry if problem else options.repeat
            if not pause:
                return
            await asyncio.sleep(pause)

    async def _check(self, state: _State, attempt: int) -> str:
        """Check once; record what matters; return the problem, or nothing."""
        context = PreflightContext(generation=self._generation, attempt=attempt)
        loop = asyncio.get_running_loop()
        began = loop.time()
        result = await self._result(state.named, context)
        problem = printable(result.problem)[:LONGEST_PROBLEM]
        # The same again and again is told once.
        if state.problem is None or bool(problem) != bool(state.problem):
            self._tell(state.named, result, problem, attempt, loop.time() - began)
        return problem

    async def _result(
        self, named: NamedPreflight, context: PreflightContext
    ) -> PreflightResult:
        """Return what a check finds; nothing but one that blocks the loop holds us up.

        Nor does one that won't be cancelled; it may end when it likes.
        """
        limit = named.options.timeout
        checking = asyncio.create_task(_checked(named, context))
        self._checking.add(checking)
        checking.add_done_callback(self._checking.discard)
        try:
            await asyncio.wait((checking,), timeout=limit)
            if checking.cancelled():  # and not by us
                return PreflightResult(problem="it was cancelled")
            if checking.done():
                return checking.result()
            return PreflightResult(problem=f"no answer within {limit:g} s")
        finally:
            if not checking.done():
                checking.cancel()
                await asyncio.wait((checking,), timeout=RELEASE)

    def _tell(
        self,
        named: NamedPreflight,
        result: PreflightResult,
        problem: str,
        attempt: int,
        seconds: float,
    ) -> None:
        facts = {
            **result.facts,
            "preflight": named.name,
            "attempt": attempt,
            "seconds": round(seconds, 3),
        }
        if problem:
            facts |= {"reason": problem, "required": named.options.required}
        name = EventName.PREFLIGHT_FAILED if problem else EventName.PREFLIGHT_PASSED
        self.record(name, **facts)


async def _checked(named: NamedPreflight, context: PreflightContext) -> PreflightResult:
    try:
        result: object = await named.preflight.check(context)
    except Exception as error:  # noqa: BLE001 - a check's fault is not the agent's
        return PreflightResult(problem=f"it failed: {error!r}")
    if isinstance(result, PreflightResult):
        return result
    return PreflightResult(problem=f"it returned {result!r}, no PreflightResult")


async def _all_known(states: Sequence[_State], news: asyncio.Event) -> None:
    while any(state.problem is None for state in states):
        news.clear()
        await news.wait()


def _reason(states: Sequence[_State]) -> str:
    reasons = (state.keeps_out for state in states)
    return "; ".join(reason for reason in reasons if reason)[:LONGEST_REASON]
