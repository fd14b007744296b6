"""A rendezvous that blocks, as the port that an agent uses.

What the port promises and such a rendezvous does not, is done here, over the store that
it gives for each round:

- ranks (`elaunch.blocking.ranks`), and the bootstrap;
- that nodes wait to join, by a look every ``interval`` seconds;
- what follows from a failure. Nobody decides for the job: the node whose workers fail
  asks the policy about what it knows itself, and joins again, which the others see as
  a node that waits; likewise one that is told to restart. No node can be left out;
- that a node which is not fit stays out: it comes to the others when it is fit again;
- that all are done: torchelastic's exit barrier.

Closing follows torchelastic: the job is closed for everybody when this node succeeds or
fails for good, and not when a signal ends it.
"""

import asyncio
import json
import logging
import math
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from elaunch.blocking.collectives import barrier
from elaunch.blocking.deciding import Deciding
from elaunch.blocking.ranks import Past, agree
from elaunch.blocking.standing import Standing
from elaunch.blocking.trouble import translated
from elaunch.errors import (
    RendezvousClosed,
    RendezvousCorrupt,
    RendezvousUnreachable,
)
from elaunch.failures import ProcessFailure
from elaunch.notice import Notice
from elaunch.policy import Verdict
from elaunch.rendezvous import (
    Change,
    ChangeKind,
    Membership,
    NodeFacts,
    NodeState,
    Outcome,
    OutcomeState,
    RendezvousParameters,
)
from elaunch.threads import in_thread
from elaunch.vitals import MemberStatus, Pace, Vitals


logger = logging.getLogger(__name__)

T = TypeVar("T")

BOOTSTRAP = "elaunch/bootstrap"
EXIT_BARRIER = "torchelastic/agent/terminal_state"

EXIT_BARRIER_TIMEOUT = 300.0
"""Seconds that a node which is done waits for the others."""

SHUTDOWN_TIMEOUT = 30.0
"""Seconds that closing the rendezvous may hold up the agent's end."""


@attrs.define(eq=False)
class BlockingRendezvous:
    """One node's side of a rendezvous that blocks; see `elaunch.api.RendezvousHandler`.

    Args:
        create: Builds the other side; may block.
        params: What every rendezvous is built with.
        closes: Whether to close it for everybody at the end; if not, somebody else
            does.
    """

    _create: Callable[[], Any]
    _params: RendezvousParameters
    _closes: bool = True
    _handler: Any = attrs.field(default=None, init=False)
    _turn: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _store: Any = attrs.field(default=None, init=False)
    _membership: Membership | None = attrs.field(default=None, init=False)
    _addresses: frozenset[str] = attrs.field(default=frozenset(), init=False)
    _past: Past = attrs.field(factory=Past, init=False)
    _deciding: Deciding = attrs.field(init=False)
    _not_before: float = attrs.field(default=-math.inf, init=False)
    _news: "asyncio.Queue[Change | Exception]" = attrs.field(
        factory=asyncio.Queue, init=False
    )
    _finishing: "asyncio.Task[None] | None" = attrs.field(default=None, init=False)
    _outcome: Outcome | None = attrs.field(default=None, init=False)
    _standing: Standing = attrs.field(factory=Standing, init=False)
    _signalled: bool = attrs.field(default=False, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._deciding = Deciding(self._params)

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self._params.backend

    @property
    def run_id(self) -> str:
        """Id of the job."""
        return self._params.run_id

    async def join(self) -> Membership:
        """Meet the others and agree on ranks; see the port."""
        if self._outcome:
            raise RendezvousClosed(f"the job is over: {self._outcome.reason}")
        self._standing.state = "ready"
        await self._standing.fit()
        try:
            # Where others fail, too, the longest back-off counts: they wait for all.
            await asyncio.sleep(self._not_before - asyncio.get_running_loop().time())
            membership, self._addresses = await self._call(self._meet)
        except asyncio.CancelledError:
            self._signalled = True  # nothing else gives up a join
            raise
        self._past = Past(
            generation=membership.generation, restarts=membership.restart_count
        )
        self._membership, self._news = membership, asyncio.Queue()
        return membership

    def _meet(self) -> tuple[Membership, frozenset[str]]:
        self._check_wanted()
        if self._handler is None:
            self._handler = self._create()
        info = self._handler.next_rendezvous()
        self._check_wanted()
        self._store = info.store
        node = self._params.node or _facts(self._params)
        return agree(info.store, info.rank, info.world_size, node, self._past)

    def _check_wanted(self) -> None:
        """Go no further in a thread that was left behind when a signal came.

        Its process may live on. Who agrees on ranks promises the others workers.
        """
        if self._signalled:
            raise RendezvousClosed("this node was told to stop while nodes met")

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield that nodes wait to join, and what this node has decided."""
        looking = asyncio.create_task(self._look_out(self._news))
        superseded = False
        try:
            while True:
                change = await self._news.get()
                if isinstance(change, Exception):
                    raise change
                if change.kind is ChangeKind.SUPERSEDED:
                    if superseded:
                        continue
                    superseded = True
                    looking.cancel()  # the next rendezvous takes in whoever waits
                yield change
                if change.kind in {ChangeKind.CLOSED, ChangeKind.LOST}:
                    return
        finally:
            looking.cancel()

    async def _look_out(self, news: "asyncio.Queue[Change | Exception]") -> None:
        """Look again and again until nodes wait; a look that hangs hides no news."""
        try:
            found = None
            while not found:
                await asyncio.sleep(self._params.interval)
                # While this node waits for the end of the job nobody else can begin
                # a generation that it would take part in.
                found = None if self._finishing else await self._look()
            news.put_nowait(found)
        except Exception as error:  # noqa: BLE001 - raised where news are waited for
            news.put_nowait(error)

    async def _look(self) -> Change | None:
        """Ask whether nodes wait."""
        try:
            waiting = await self._call(self._handler.num_nodes_waiting)
        except RendezvousUnreachable as error:
            reason = f"the rendezvous can't be reached: {error}"
            return Change(kind=ChangeKind.LOST, reason=reason)
        if waiting <= 0:
            return None
        reason = f"{waiting} node{'s wait' if waiting > 1 else ' waits'} to join"
        self._note(reason)
        return Change(kind=ChangeKind.SUPERSEDED, reason=reason)

    def outcome(self) -> Outcome | None:
        """Return how the job ended, as far as this node knows."""
        return self._outcome

    async def member_addresses(self) -> frozenset[str]:
        """Return what the members said when they met."""
        return self._addresses

    async def others_stopped(self) -> None:
        """Nobody can tell.

        Raises:
            RendezvousUnreachable: Always.
        """
        raise RendezvousUnreachable(
            f"rendezvous backend {self.backend!r} does not tell when others stop"
        )

    async def publish_bootstrap(self, info: Mapping[str, str]) -> None:
        """Write it where `bootstrap` reads."""
        value = json.dumps(dict(info)).encode()
        await self._ask_store(lambda: self._store.set(BOOTSTRAP, value))

    async def bootstrap(self) -> Mapping[str, str]:
        """Wait for what the node of group rank 0 writes."""
        value = await self._ask_store(lambda: bytes(self._store.get(BOOTSTRAP)))
        try:
            told = json.loads(value)
            return {str(name): str(text) for name, text in told.items()}
        except (ValueError, AttributeError) as error:
            raise RendezvousCorrupt(
                f"the store of the rendezvous holds {value[:200]!r} as bootstrap"
            ) from error

    async def report(
        self, state: NodeState, failures: tuple[ProcessFailure, ...] = ()
    ) -> None:
        """Decide what follows for this node."""
        self._standing.state = state.value
        if state is NodeState.FAILED:
            self._decide(failures)
        elif state is NodeState.DONE:
            self._finishing = asyncio.create_task(self._finish())
        elif state is NodeState.PREEMPTED:
            reason = "workers have ended for a preemption"
            self._close(Outcome(state=OutcomeState.PREEMPTED, reason=reason))

    def _decide(self, failures: tuple[ProcessFailure, ...]) -> None:
        assert self._membership  # noqa: S101 - for mypy: who fails was a member
        told = self._standing.vitals
        decision = self._deciding.decide(self._membership, failures, told)
        first = failures[0]
        what = f"{first.who} failed: {first.message}; {decision.reason}"
        if decision.verdict is Verdict.RESTART:
            self._note(what, failed=True)
            self._not_before = asyncio.get_running_loop().time() + decision.delay
            change = Change(kind=ChangeKind.SUPERSEDED, reason=what, failed=True)
            self._news.put_nowait(change)
        else:
            if decision.verdict is Verdict.EXCLUDE:
                what += f"; rendezvous backend {self.backend!r} can't leave out a node"
            handed_back = decision.verdict is Verdict.HAND_BACK
            state = OutcomeState.HANDED_BACK if handed_back else OutcomeState.FAILED
            self._close(Outcome(state=state, reason=what, failures=failures))

    async def _finish(self) -> None:
        """Wait for the others in torchelastic's exit barrier; who is late is left."""
        assert self._membership  # noqa: S101 - for mypy: who is done was a member
        store, size = self._store, self._membership.group_size
        reason = "all nodes are done"
        try:
            await in_thread(
                lambda: barrier(store, size, EXIT_BARRIER, EXIT_BARRIER_TIMEOUT)
            )
        except Exception as error:  # noqa: BLE001 - this node's work is done all the same
            reason = f"this node is done; the others were not waited for: {error}"
        self._close(Outcome(state=OutcomeState.SUCCEEDED, reason=reason))

    def _close(self, outcome: Outcome) -> None:
        # A second report of a failure knows what came before the first.
        failed = bool(outcome.failures)
        if self._outcome is None or (failed and self._outcome.failures):
            self._outcome = outcome
        self._news.put_nowait(
            Change(
                kind=ChangeKind.CLOSED,
                reason=self._outcome.reason,
                outcome=self._outcome,
            )
        )

    def _note(self, reason: str, *, failed: bool = False) -> None:
        """Remember, for the next rendezvous, why there is one."""
        failed = failed or self._past.failed
        self._past = attrs.evolve(self._past, reason=reason, failed=failed)

    async def announce(self, notice: Notice) -> None:
        """Tell this node's own workers: there is no way to the others."""
        self._news.put_nowait(
            Change(kind=ChangeKind.NOTICE, reason=notice.reason, notice=notice)
        )

    async def withhold(self, reason: str) -> None:
        """Let a `join` wait until this node is fit; the others wait for it.

        Nobody is told why: there is no way to.
        """
        self._standing.withhold(reason)

    async def restart(self, reason: str) -> None:
        """Let this node join again, which the others see as a node that waits.

        Raises:
            RendezvousUnreachable: If this node is no member.
        """
        self._check_member()
        self._note(reason)
        self._news.put_nowait(Change(kind=ChangeKind.SUPERSEDED, reason=reason))

    async def tell(self, vitals: Vitals, *, at_once: bool = False) -> None:  # noqa: ARG002 - the port's signature
        """Keep it for `members`: there is no way to the others.

        Raises:
            RendezvousUnreachable: If this node is no member.
        """
        self._check_member()
        self._standing.vitals = vitals

    def job_pace(self) -> Pace | None:
        """Nobody knows the pace of other nodes."""
        return None

    async def members(self) -> Sequence[MemberStatus]:
        """Return how this node is: nobody tells of the others."""
        node = self._params.node or _facts(self._params)
        return (self._standing.status(node, self._membership),)

    def _check_member(self) -> None:
        if self._membership is None:
            raise RendezvousUnreachable("this node is not a member: join first")

    async def retire(self, reason: str) -> None:  # noqa: ARG002 - the port's signature
        """Remember that a signal ends this node, which closes nothing."""
        self._signalled = True

    async def leave(self, reason: str) -> None:  # noqa: ARG002 - the port's signature
        """Close the job, unless a signal ends this node."""
        if self._finishing and self._outcome is None:
            self._signalled = True  # nothing else ends the wait for the others
        await self._give_up_finishing()
        await self._end()

    async def close(self, outcome: Outcome) -> None:
        """End the job for everybody."""
        self._outcome = self._outcome or outcome
        await self._end()

    async def aclose(self) -> None:
        """Close the job if that was not done, unless a signal ends this node."""
        await self._give_up_finishing()
        await self._end()

    async def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._signalled or not self._closes or self._handler is None:
            return
        try:
            async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                await self._call(self._handler.shutdown)
        except Exception as error:  # noqa: BLE001 - how the job ended is not to be hidden
            logger.warning(
                "rendezvous backend %r could not be closed: %s: %s",
                self.backend,
                type(error).__name__,
                error,
            )

    async def _give_up_finishing(self) -> None:
        finishing, self._finishing = self._finishing, None
        if finishing and not finishing.done():
            finishing.cancel()
            await asyncio.wait((finishing,))

    async def _ask_store(self, call: Callable[[], T]) -> T:
        """Ask the store, which can wait for others: not in the handler's turn."""
        return await translated(in_thread(call))

    async def _call(self, call: Callable[[], T]) -> T:
        """Call the other side, one call at a time, as it expects."""

        def in_turn() -> T:
            with self._turn:
                return call()

        return await translated(in_thread(in_turn))


def _facts(params: RendezvousParameters) -> NodeFacts:
    host = socket.gethostname()
    return NodeFacts(host=host, address=params.local_addr or host)
