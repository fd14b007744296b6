"""The agent's driver: the one loop that performs what the machine decides.

Every action that can take time runs as a task and comes back as a stimulus, so that a
signal or a change is handled at once, whatever is under way.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import attrs

from elaunch.agent.controls import Controls
from elaunch.agent.fitness import Fitness
from elaunch.agent.happenings import Happenings
from elaunch.agent.machine import Machine
from elaunch.agent.meeting import MeetingPoint
from elaunch.agent.messages import (
    Action,
    Announce,
    Announced,
    Begin,
    Changed,
    Finish,
    Join,
    Joined,
    JoinFailed,
    Kill,
    Leave,
    Left,
    Noticed,
    Notify,
    Report,
    Result,
    Retire,
    Signalled,
    Start,
    StartFailed,
    Stimulus,
    Stop,
    Waited,
)
from elaunch.agent.notices import ANNOUNCE_PATIENCE, Notices
from elaunch.agent.placement import Placement
from elaunch.agent.running import RunningWorkers
from elaunch.agent.signals import HandledSignals, Once, handled_signals
from elaunch.agent.tasks import Task, Tasks, Turns, attempt, cancel
from elaunch.agent.telling import Telling
from elaunch.bootstrap import Bootstrap
from elaunch.channel.port import NoChannel, WorkerChannel
from elaunch.environ import EnvironmentSettings
from elaunch.errors import ElaunchError, RendezvousUnreachable
from elaunch.events import EventName, Record
from elaunch.failures import signal_name
from elaunch.feed import Feed
from elaunch.monitor import NamedMonitor
from elaunch.notice import Notice
from elaunch.preflight import NamedPreflight
from elaunch.rendezvous import (
    Change,
    ChangeKind,
    Membership,
    NodeFacts,
    NodeState,
    RendezvousHandler,
)
from elaunch.signals import PREEMPTION_SIGNAL, AgentSignals
from elaunch.spawner import Spawner
from elaunch.vitals import Pace
from elaunch.worker_message import WorkerMessage
from elaunch.workers import WorkerEntry


STOP_MARGIN = 1.5
"""Seconds beyond the shutdown timeout in which any node has stopped its workers."""

REPORT_TIMEOUT = 10.0
"""Seconds that a report may hold up the goodbye."""


@attrs.define(eq=False, repr=False, kw_only=True)
class Agent:
    """One node's agent. It receives ports and knows no names, flags or plugins.

    Attributes:
        handler: This node's side of the rendezvous.
        spawner: Starts the workers.
        bootstrap: What the workers need to find each other.
        monitors: Who watches them.
        entry: What they run.
        node: What this node says of itself.
        max_restarts: Restart budget of the job, for the workers' environment.
        notices: What the workers are told, and how they are stopped.
        preflights: What this node must pass to take a place.
        signals: Which signals it handles.
        handled_signals: How it gets them.
        exit_barrier_timeout: Seconds it waits for the other nodes when its workers
            have succeeded; `None` for as long as they take.
        line_prefix: Template of what each line of output begins with on the console.
        record: Told what happens.
        environment: What the user wants of the workers' environment.
        messages: What its workers tell.
        channel: On which they do.
        paces: How long their steps take, as a monitor sees it.
    """

    handler: RendezvousHandler
    spawner: Spawner
    bootstrap: Bootstrap
    monitors: Sequence[NamedMonitor]
    entry: WorkerEntry
    node: NodeFacts
    max_restarts: int
    notices: Notices
    preflights: Sequence[NamedPreflight] = ()
    signals: AgentSignals = attrs.field(factory=AgentSignals)
    handled_signals: HandledSignals = handled_signals
    exit_barrier_timeout: float | None = None
    line_prefix: str | None = None
    record: Record
    environment: EnvironmentSettings = attrs.field(factory=EnvironmentSettings)
    messages: Feed[WorkerMessage] = attrs.field(factory=Feed)
    channel: WorkerChannel = attrs.field(factory=NoChannel)
    paces: Feed[Pace] = attrs.field(factory=Feed)

    _machine: Machine = attrs.field(init=False)
    _meeting: MeetingPoint = attrs.field(init=False)
    _happenings: Happenings = attrs.field(init=False)
    _telling: Telling = attrs.field(init=False)
    _fitness: Fitness = attrs.field(init=False)
    _workers: RunningWorkers = attrs.field(init=False)
    _inbox: asyncio.Queue[Stimulus | BaseException] = attrs.field(
        factory=asyncio.Queue, init=False
    )
    _tasks: Tasks = attrs.field(init=False)
    _reports: Turns = attrs.field(init=False)
    _joining: Task | None = attrs.field(default=None, init=False)
    _starting: Task | None = attrs.field(default=None, init=False)
    _watching: list[Task] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._tasks = Tasks(on_fault=self._inbox.put_nowait)
        self._reports = Turns(self._tasks)
        self._machine = Machine(
            name=self.entry.name,
            role=self.node.role,
            host=self.node.host,
            local_world_size=self.node.local_world_size,
        )
        placement = Placement(
            run_id=self.handler.run_id,
            node=self.node,
            max_restarts=self.max_restarts,
            environment=self.environment,
            line_prefix=self.line_prefix,
        )
        self._meeting = MeetingPoint(
            bootstrap=self.bootstrap,
            handler=self.handler,
            stop_time=self.notices.shutdown_timeout + STOP_MARGIN,
            record=self.record,
        )
        self._happenings = Happenings(self.record, placement)
        self._telling = Telling(
            tell=self.handler.tell,
            host=self.node.host,
            messages=self.messages,
            paces=self.paces,
            record=self.record,
            tasks=self._tasks,
        )
        self._fitness = Fitness(
            preflights=self.preflights,
            handler=self.handler,
            shutdown_timeout=self.notices.shutdown_timeout,
            record=self.record,
            tasks=self._tasks,
        )
        self._workers = RunningWorkers(
            spawner=self.spawner,
            entry=self.entry,
            channel=self.channel,
            monitors=self.monitors,
            messages=self.messages,
            telling=self._telling,
            notices=self.notices,
            placement=placement,
            meeting=self._meeting,
            happenings=self._happenings,
            record=self.record,
            tasks=self._tasks,
            feed=self._feed,
            is_preempted=self._machine.is_preempted,
        )

    @property
    def controls(self) -> Controls:
        """What it can be told from outside."""
        return Controls(
            host=self.node.host,
            handler=self.handler,
            machine=self._machine,
            feed=self._feed,
            record=self.record,
        )

    async def run(self) -> Result:
        """Run until the job is over for this node.

        No worker is alive then, and the rendezvous is released, whatever happens.
        """
        self.record(EventName.AGENT_STARTED, pid=os.getpid())
        notice = {self.signals.notice: self._noticed} if self.signals.notice else {}
        told = dict.fromkeys(self.signals.end, Once(self._signalled)) | notice
        with self.handled_signals(told):
            self._feed(Begin())
            try:
                return await self._loop()
            finally:
                await self._release()

    async def _loop(self) -> Result:
        while True:
            stimulus = await self._inbox.get()
            if isinstance(stimulus, BaseException):
                raise stimulus
            for action in self._machine.handle(stimulus):
                if isinstance(action, Finish):
                    return action.result
                self._perform(action)

    def _perform(self, action: Action) -> None:
        match action:
            case Join():
                self._joining = self._tasks.start(self._join())
            case Start(membership):
                self._watching.append(self._tasks.start(self._watch_membership()))
                self._starting = self._tasks.start(self._start(membership))
            case Report() | Announce() | Retire():
                self._reports.add(self._word(action))
            case Notify(notice):
                self._tasks.start(self._workers.notify(notice))
            case Stop():
                self._tasks.start(self._stop(action))
            case Kill():
                self._tasks.start(self._workers.kill())
            case Leave(reason):
                self._tasks.start(self._leave(reason))
            case Finish():
                raise AssertionError("the loop ends before this")

    def _word(
        self, action: Report | Announce | Retire
    ) -> Callable[[], Awaitable[None]]:
        """Return what tells the job."""
        match action:
            case Report(state):
                if state is NodeState.DONE:
                    self.record(EventName.GROUP_SUCCEEDED)
                    self._watching.append(self._tasks.start(self._wait_for_others()))
                return partial(self._report, action)
            case Announce(notice):
                return partial(self._announce, notice)
            case Retire(reason):
                return partial(self._retire, reason)

    # -- actions ---------------------------------------------------------------

    async def _join(self) -> None:
        await self._cancel_watching()
        await self._reports.done()
        self._meeting.is_over()
        closing = self._tasks.start(self._meeting.close_after_others())
        self._happenings.joining()
        try:
            membership = await self._fitness.join()
        except ElaunchError as error:
            outcome = self.handler.outcome()
            self._happenings.not_joined(error, outcome)
            self._feed(JoinFailed(error, outcome))
            return
        finally:
            await cancel(closing)
        self._happenings.joined(membership)
        self._feed(Joined(membership))

    async def _start(self, membership: Membership) -> None:
        try:
            await self._workers.start(membership)
        except RendezvousUnreachable as error:
            self._lose_membership(error)
        except ElaunchError as error:
            self._feed(StartFailed(error))

    async def _report(self, report: Report) -> None:
        if report.state is NodeState.FAILED:
            # Who decides is to know how far the job has come.
            await self._telling.flush()
        try:
            await self.handler.report(report.state, report.failures)
        except RendezvousUnreachable as error:
            self._lose_membership(error)

    async def _announce(self, notice: Notice) -> None:
        self._happenings.announced(notice)
        # Where the others can't be told now, this node's workers can.
        loop = asyncio.get_running_loop()
        late = loop.call_later(ANNOUNCE_PATIENCE, self._feed, Announced(notice))
        try:
            await self.handler.announce(notice)
        except RendezvousUnreachable:
            self._feed(Announced(notice))
        finally:
            late.cancel()

    async def _retire(self, reason: str) -> None:
        # A store that does not take it will see the lease end instead.
        with contextlib.suppress(RendezvousUnreachable):
            await self.handler.retire(reason)

    async def _stop(self, stop: Stop) -> None:
        self._meeting.is_over()
        self._fitness.stopping()
        starting = self._starting
        if starting and not starting.done():
            starting.cancel()
            await asyncio.wait((starting,))
        await self._workers.stop(stop)

    async def _leave(self, reason: str) -> None:
        await cancel(self._joining)
        await self._cancel_watching()
        await self._reports.done(REPORT_TIMEOUT)
        await self._workers.close()
        goodbye = partial(self.handler.leave, reason)
        for step in (goodbye, self._meeting.close_and_go, self.handler.aclose):
            await attempt(step)
        self._feed(Left())

    # -- watchers --------------------------------------------------------------

    async def _watch_membership(self) -> None:
        async with contextlib.aclosing(self.handler.changes()) as changes:
            async for change in changes:
                if change.kind is ChangeKind.SUPERSEDED:
                    self.record(EventName.GENERATION_SUPERSEDED, reason=change.reason)
                self._feed(
                    Announced(change.notice) if change.notice else Changed(change)
                )

    async def _wait_for_others(self) -> None:
        if self.exit_barrier_timeout is not None:
            await asyncio.sleep(self.exit_barrier_timeout)
            self._feed(Waited())

    # -- helpers ---------------------------------------------------------------

    def _signalled(self, signum: int) -> None:
        self.record(EventName.AGENT_SIGNALLED, signal=signal_name(signum))
        taken_away = signum == PREEMPTION_SIGNAL
        notice = self.notices.preemption(signum, ends=True) if taken_away else None
        self._feed(Signalled(signum, notice))

    def _noticed(self, signum: int) -> None:
        self._feed(Noticed(self.notices.preemption(signum, ends=False)))

    def _lose_membership(self, error: RendezvousUnreachable) -> None:
        """Take what the store did not answer for lost: this node joins again."""
        self._feed(Changed(Change(kind=ChangeKind.LOST, reason=str(error))))

    def _feed(self, stimulus: Stimulus) -> None:
        self._inbox.put_nowait(stimulus)

    async def _cancel_watching(self) -> None:
        watching, self._watching = self._watching, []
        for task in watching:
            await cancel(task)
        await self._workers.unwatch()

    async def _release(self) -> None:
        """End whatever is left, workers first; each step even if one before failed."""
        await self._tasks.cancel_all()
        closing = (self._meeting.close, self.handler.aclose, self.spawner.close)
        for step in (self._workers.close, *closing):
            await attempt(step)
