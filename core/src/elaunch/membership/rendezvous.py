"""`StoreRendezvous`: the rendezvous handler over any store."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

import attrs

from elaunch.errors import (
    RendezvousClosed,
    RendezvousUnreachable,
)
from elaunch.events import EventName
from elaunch.failures import ProcessFailure
from elaunch.membership.access import StoreAccess
from elaunch.membership.job_vitals import sound
from elaunch.membership.joining import Joining
from elaunch.membership.members import Members, read_members
from elaunch.membership.news import News
from elaunch.membership.notices import announce
from elaunch.membership.office import stand_by
from elaunch.membership.options import RendezvousOptions
from elaunch.membership.progress import Patience
from elaunch.membership.reasons import names
from elaunch.membership.records import (
    JobPhase,
    JobRecord,
    Keys,
    NodePhase,
    encode,
    node_id_of,
)
from elaunch.membership.statuses import statuses
from elaunch.membership.stay import Account, Stay
from elaunch.notice import Notice
from elaunch.rendezvous import (
    Change,
    JobSettings,
    Membership,
    NodeFacts,
    NodeState,
    Outcome,
    RendezvousParameters,
)
from elaunch.store import Store
from elaunch.vitals import MemberStatus, Pace, Vitals


LAST_DECISION_TIMEOUT = 1.0
"""Seconds that a member which leaves waits for the decision that follows from it."""

GOODBYE_TIMEOUT = 5.0
"""Seconds that a node which leaves tries to say so; its lease says it else."""

TELL_RATE = 500
"""Most nodes that tell how they go in a second: in a large job each does so less often.
"""


def _new_agent_id() -> str:
    return f"{os.getpid()}-{os.urandom(4).hex()}"


@attrs.define(eq=False, repr=False)
class StoreRendezvous:
    """One node's side of a rendezvous over any store.

    Args:
        open_store: Connects to the store, or raises `RendezvousUnreachable`.
        params: What every rendezvous is built with.
        options: Its times.
        agent_id: Tells this agent from every other on its host, now or ever.

    Raises:
        UsageError: If no generation could ever be formed with these options.
    """

    _open_store: Callable[[], Awaitable[Store]]
    _params: RendezvousParameters
    _options: RendezvousOptions
    _agent_id: str = attrs.field(factory=_new_agent_id)
    _keys: Keys = attrs.field(init=False)
    _facts: NodeFacts = attrs.field(init=False)
    _settings: JobSettings = attrs.field(init=False)

    _access: StoreAccess = attrs.field(init=False)
    _stay: Stay | None = attrs.field(default=None, init=False)
    _stays: int = attrs.field(default=0, init=False)
    _membership: Membership | None = attrs.field(default=None, init=False)
    _others: Members | None = attrs.field(default=None, init=False)
    _account: Account = attrs.field(factory=Account, init=False)
    _unfit: str = attrs.field(default="", init=False)
    _tells_from: float = attrs.field(default=0.0, init=False)
    _last_job: JobRecord | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        params = self._params
        self._access = StoreAccess(
            self._open_store, self._options.silence_limit, self._forget_job
        )
        host = socket.gethostname()
        self._keys = Keys(params.run_id)
        self._facts = params.node or NodeFacts(
            host=host, address=params.local_addr or host
        )
        self._settings = self._options.complete(
            params.settings
            or JobSettings(min_nodes=params.min_nodes, max_nodes=params.max_nodes)
        )

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self._params.backend

    @property
    def run_id(self) -> str:
        """Id of the job."""
        return self._params.run_id

    async def join(self) -> Membership:
        """Wait until this node is a member of a sealed generation."""
        now = asyncio.get_running_loop().time()
        patience = Patience.begin(now, self._options.join_limit)
        while True:
            if self._stay and self._stay.lost:
                await self._end_stay()
            stay = self._stay or await self._begin_stay(patience)
            membership = await self._become_member(stay, patience)
            if membership:
                self._membership, self._account = membership, Account()
                return membership

    async def _become_member(self, stay: Stay, patience: Patience) -> Membership | None:
        """Say that this node is ready and wait for a place.

        A write that was not answered may be lost or not: the stay can't be counted on.

        Returns:
            The place; `None` if the stay was lost and another must begin.

        Raises:
            RendezvousUnreachable: If that has gone on for too long.
        """
        try:
            if self._membership:
                stay.stopped = self._membership.generation
                await self._say(stay, NodePhase.READY, stay.stopped)
            elif not stay.joined:
                await self._enter(stay)
            membership = await Joining(stay, self._params, patience).place()
        except RendezvousUnreachable as error:
            await patience.endure(error)
            stay.lose(str(error))
            membership = None
        if stay.lost:
            self._params.record(EventName.RENDEZVOUS_LOST, reason=stay.lost)
        return membership

    async def _begin_stay(self, patience: Patience) -> Stay:
        store, lease = await self._access.hold_lease(patience)
        self._params.record(EventName.RENDEZVOUS_JOINING, address=self._facts.address)
        self._stays += 1
        node_id = node_id_of(f"{self._facts.host}-{self._agent_id}", self._stays)
        self._stay = Stay(
            store, self._keys, lease, node_id, self._facts, self._settings
        )
        self._stay.unfit = self._unfit
        return self._stay

    def _forget_job(self) -> None:
        """Take what the store that was just opened holds for all that there is."""
        self._last_job = None

    async def _enter(self, stay: Stay) -> None:
        """Read the job, and take part in it if it can be taken part in."""
        await stay.begin()
        if self._last_job and stay.job is None:
            raise RendezvousClosed(
                f"job {self.run_id!r} is over: it ended while this node was away"
            )
        stay.check_admission()
        await stay.enter()
        stay.office = stay.run(lambda: stand_by(stay, self._params, self._options))

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield what happens to the current membership, and each notice to it."""
        async with contextlib.aclosing(self._news().changes()) as changes:
            async for change in changes:
                yield change

    def outcome(self) -> Outcome | None:
        """Return how the job ended, or `None` while it has not."""
        job = self._stay.job if self._stay else self._last_job
        return job.outcome if job else None

    async def member_addresses(self) -> frozenset[str]:
        """As group rank 0: return from where the generation's workers connect."""
        stay, membership = self._joined()
        own = {self._facts.address, *self._facts.addresses}
        self._others = None
        job = stay.job
        if membership.group_size == 1 or job is None:
            return frozenset(own)
        sealed = membership.generation, job.token
        members = await read_members(stay.store, self._keys, sealed)
        self._others = members.without(stay.node_id)
        return members.addresses() | own

    async def others_stopped(self) -> None:
        """Wait until no other node runs workers of this node's last generation."""
        if self._others is None:
            return
        await self._others.stopped(self._open(), self._tell_lingering)

    def _tell_lingering(self, hosts: Sequence[str]) -> None:
        # While this node is here it has other things to wait for, and tells those.
        if self._stay is None:
            self._params.record(
                EventName.RENDEZVOUS_LINGERING,
                reason=f"workers of {names(hosts)} still run",
            )

    async def publish_bootstrap(self, info: Mapping[str, str]) -> None:
        """As group rank 0: tell all members how workers find each other."""
        stay, membership = self._joined()
        key = self._keys.bootstrap(membership.generation)
        await stay.store.put(key, encode(dict(info)), lease=stay.lease)
        if stay.published:
            await stay.store.delete(stay.published)
        stay.published = key

    async def bootstrap(self) -> Mapping[str, str]:
        """Wait for what group rank 0 publishes for the current generation."""
        stay, membership = self._joined()
        key = self._keys.bootstrap(membership.generation)
        while key not in stay.bootstraps:
            await stay.news().wait()
        return stay.bootstraps[key]

    async def report(
        self, state: NodeState, failures: tuple[ProcessFailure, ...] = ()
    ) -> None:
        """Tell the job how this node's workers are."""
        stay, membership = self._joined()
        self._account = attrs.evolve(
            self._account,
            failures=failures,
            preempted=state is NodeState.PREEMPTED,
        )
        await self._say(stay, NodePhase(state.value), membership.generation)

    async def announce(self, notice: Notice) -> None:
        """Let every member of this node's generation know of a notice."""
        stay, membership = self._joined()
        await announce(stay, membership.generation, notice)

    async def withhold(self, reason: str) -> None:
        """Keep this node out of generations, or no longer with ``""``."""
        self._unfit = reason
        stay = self._stay
        if stay and not stay.lost:
            try:
                await stay.withhold(reason)
            except RendezvousUnreachable as error:
                stay.lose(str(error))  # the next stay begins with it

    async def restart(self, reason: str) -> None:
        """Let the job form anew, at no cost."""
        stay, membership = self._joined()
        job = stay.job
        sealed = job is not None and job.phase is JobPhase.SEALED
        if job and sealed and job.generation == membership.generation:
            self._account = attrs.evolve(self._account, restart=reason)
            await stay.ask_for_restart(membership.generation, reason)

    async def tell(self, vitals: Vitals, *, at_once: bool = False) -> None:
        """Tell the job how this node goes; in a large job less often."""
        stay, membership = self._joined()
        loop = asyncio.get_running_loop()
        if not at_once:
            await asyncio.sleep(self._tells_from - loop.time())
        self._tells_from = loop.time() + membership.group_size / TELL_RATE
        await stay.store.put(self._keys.vitals(stay.node_id), encode(sound(vitals)))

    def job_pace(self) -> Pace | None:
        """Return how long steps take on all nodes, as the coordinator told last."""
        told = self._stay.pace if self._stay else None
        member = self._membership
        current = told and member and told.generation == member.generation
        return told.pace if told and current else None

    async def members(self) -> Sequence[MemberStatus]:
        """Read how all nodes of the job are."""
        time = self._params.clock()
        return await statuses(self._open(), self._keys, time)

    async def retire(self, reason: str) -> None:
        """Tell the job that this node leaves as soon as its workers have stopped."""
        stay, membership = self._joined()
        try:
            await self._say_goodbye(stay, membership.generation, reason)
        except TimeoutError:
            raise RendezvousUnreachable(
                f"the store has not taken a goodbye for {GOODBYE_TIMEOUT:g} s"
            ) from None

    async def leave(self, reason: str) -> None:
        """Say goodbye for good: others act at once. Twice is fine."""
        stay = self._stay
        if stay is None:
            return
        if not stay.lost:
            over = stay.job is not None and stay.job.phase is JobPhase.CLOSED
            if over and stay.in_office and stay.office:
                # The coordinator of a finished job is the last to go: it cleans up.
                await asyncio.wait((stay.office,))
                with contextlib.suppress(RendezvousUnreachable):
                    await stay.store.delete(self._keys.state)
            elif not over:
                with contextlib.suppress(RendezvousUnreachable, TimeoutError):
                    about = self._membership.generation if self._membership else 0
                    await self._say_goodbye(stay, about or stay.stopped, reason)
                    await self._see_it_through(stay)
        self._params.record(EventName.RENDEZVOUS_LEFT, reason=reason)
        await self._end_stay()

    async def _see_it_through(self, stay: Stay) -> None:
        """Let the goodbye be seen, which a store may not tell once its key is gone."""
        sealed = stay.job is not None and stay.job.phase is JobPhase.SEALED
        if not (self._membership and sealed):
            return
        news = self._news()
        async with asyncio.timeout(LAST_DECISION_TIMEOUT):
            while not (stay.office and stay.office.done()):
                told = stay.news()
                if news.change():
                    return
                await told.wait()

    async def close(self, outcome: Outcome) -> None:
        """End the job for everybody. The first outcome stays."""
        if self._stay is None:
            raise RendezvousUnreachable("this node has not begun to join")
        await self._stay.close_job(outcome)

    async def aclose(self) -> None:
        """Leave if need be and release everything. Twice is fine."""
        await self.leave("the agent is closing")
        await self._access.close()

    async def _end_stay(self) -> None:
        stay, self._stay, self._membership = self._stay, None, None
        if stay:
            self._last_job = stay.job or self._last_job
            await stay.end()

    async def _say(self, stay: Stay, phase: NodePhase, generation: int) -> None:
        """Say where this node stands, and again how its workers have ended."""
        await stay.say(phase, generation, self._account)

    async def _say_goodbye(self, stay: Stay, generation: int, reason: str) -> None:
        account = Account(preempted=self._account.preempted)
        async with asyncio.timeout(GOODBYE_TIMEOUT):
            await stay.say(NodePhase.LEAVING, generation, account, reason)

    def _news(self) -> News:
        stay, membership = self._joined()
        grace = self._options.fence_grace
        return News(stay, membership, grace, self._params.record)

    def _open(self) -> Store:
        if self._access.store is None:
            raise RendezvousUnreachable("the store is not open: join first")
        return self._access.store

    def _joined(self) -> tuple[Stay, Membership]:
        if self._stay is None or self._membership is None:
            raise RendezvousUnreachable("this node is not a member: join first")
        return self._stay, self._membership
