"""The workers of one node: groups are started, watched and stopped, one by one."""

import asyncio
from collections.abc import Callable, Sequence

import attrs
import msgspec

from elaunch.agent.dumping import HANG_DUMP, HangDump
from elaunch.agent.first_beats import FirstBeats
from elaunch.agent.happenings import Happenings
from elaunch.agent.hearing import Requests
from elaunch.agent.meeting import MeetingPoint
from elaunch.agent.messages import Exited, Found, Started, Stimulus, Stop, Stopped
from elaunch.agent.notices import Notices
from elaunch.agent.placement import Placement
from elaunch.agent.stopping import Steps
from elaunch.agent.tasks import Task, Tasks, cancel
from elaunch.agent.telling import Telling
from elaunch.agent.watching import Watchers
from elaunch.channel.port import WorkerChannel
from elaunch.events import EventName, Record
from elaunch.feed import Feed
from elaunch.monitor import NamedMonitor, WatchedGroup
from elaunch.notice import Notice
from elaunch.rendezvous import Membership
from elaunch.spawner import Spawner, StopSchedule, WorkerGroup
from elaunch.worker_message import WorkerMessage
from elaunch.workers import WorkerEntry, WorkerExit


EXITS_TIMEOUT = 5.0
"""Seconds to hear of every worker's end when all of them are gone."""


@attrs.define(eq=False, repr=False, kw_only=True)
class RunningWorkers:
    """The workers of one node.

    Attributes:
        spawner: Starts them.
        entry: What they run.
        channel: On which they tell how they go.
        monitors: Who watches them.
        messages: What they tell.
        telling: Tells the job how they go.
        notices: What they are told, and how they are stopped.
        placement: What each is started with.
        meeting: Where they meet those of other nodes.
        happenings: Records for the node.
        record: Told what happens.
        tasks: Where what goes on at the same time runs.
        feed: Given what concerns the agent's machine.
        is_preempted: Tells whether a worker has ended for a preemption.
    """

    spawner: Spawner
    entry: WorkerEntry
    channel: WorkerChannel
    monitors: Sequence[NamedMonitor]
    messages: Feed[WorkerMessage]
    telling: Telling
    notices: Notices
    placement: Placement
    meeting: MeetingPoint
    happenings: Happenings
    record: Record
    tasks: Tasks
    feed: Callable[[Stimulus], None]
    is_preempted: Callable[[WorkerExit], bool]
    _group: WorkerGroup | None = attrs.field(default=None, init=False)
    _dump: HangDump | None = attrs.field(default=None, init=False)
    _reaping: Task | None = attrs.field(default=None, init=False)
    _terminating: bool = attrs.field(default=False, init=False)
    _steps: Steps = attrs.field(init=False)
    _watchers: Watchers = attrs.field(init=False)
    _first_beats: FirstBeats = attrs.field(init=False)
    _requests: Requests = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._steps = Steps(self.happenings)
        self._watchers = Watchers(
            monitors=self.monitors,
            record=self.record,
            found=self._found,
            tasks=self.tasks,
        )
        self._first_beats = FirstBeats(self.messages, self.record)
        self._requests = Requests(self.messages, self.record, self.feed)

    async def start(self, membership: Membership) -> None:
        """Find where they meet, start them, watch them.

        Raises:
            RendezvousUnreachable: If the store is lost meanwhile.
            ElaunchError: If they can't be started; none runs.
        """
        await self.close()
        meeting = await self.meeting.find(membership)
        told = self._watchers.variables()
        channel = self.channel.open(self.placement.node.local_world_size)
        specs = self.placement.specs(membership, {**told, **meeting, **channel})
        self._terminating = False
        self._group = group = await self.spawner.start(self.entry, specs)
        self.happenings.started(membership, specs, group.pids)
        self._first_beats.begin(specs)
        # The machine must hear of the start before it hears of an exit.
        self.feed(Started(dict(group.pids)))
        self._reaping = self.tasks.start(self._reap(group, len(specs)))
        watched = WatchedGroup(
            pids=group.pids,
            base_rank=membership.base_rank,
            generation=membership.generation,
        )
        seconds = self.notices.dump_stacks or HANG_DUMP
        self._dump = dump = HangDump(group, seconds, self.tasks)
        self._watchers.begin(watched, dump.files)
        await self.telling.begin(watched)
        self._requests.begin(watched)
        # The first message is for all of them: they listen when they have begun.
        self.channel.read()

    async def notify(self, notice: Notice) -> None:
        """Let them know of a notice."""
        if self._group:
            self.channel.tell(notice)
            pids = await self._group.notify(notice)
            self.happenings.notified(notice, pids)

    async def stop(self, stop: Stop) -> None:
        """Stop them, or what has started of them, and tell when none is left."""
        self._steps = Steps(self.happenings)
        if self._group:
            self._terminating = True
            schedule = await self._schedule(stop)
            self._watchers.stop()  # that they are slow, or silent, is no news any more
            self.record(EventName.GROUP_STOPPING, reason=stop.reason)
            if schedule.notice:
                self.channel.tell(schedule.notice)
            await self._group.stop(schedule, self._steps)
            if self._reaping:
                # A spawner may fail to tell of one that even SIGKILL does not end.
                await asyncio.wait((self._reaping,), timeout=EXITS_TIMEOUT)
            await self.close()
            self.record(EventName.GROUP_STOPPED, reason=stop.reason)
        self.feed(Stopped(self._steps.left))

    async def kill(self) -> None:
        """Cut a stop short."""
        if self._group:
            await self._group.stop(StopSchedule(grace=0), self._steps)

    async def unwatch(self) -> None:
        """Let the monitors go."""
        await self._watchers.end()

    async def close(self) -> None:
        """Release the group; kills what still runs. Twice is fine."""
        group, self._group = self._group, None
        self._first_beats.end()
        self._requests.end()
        await self.telling.end()
        if group:
            await cancel(self._reaping)
            await group.close()
        self.channel.close()

    async def _schedule(self, stop: Stop) -> StopSchedule:
        """Return how they are stopped, once it is known where they hang.

        Another node of a job that hangs may have found that first, or done so sooner.
        """
        if not self._dump or not self._dump.begun:
            return self.notices.schedule(stop)
        if stop.failed:
            # Half of the grace, since they may end by themselves in the other.
            half = min(stop.grace, self.notices.shutdown_timeout) / 2
            left = await self._dump.settled(half)
            stop = msgspec.structs.replace(stop, grace=half + left)
        return attrs.evolve(self.notices.schedule(stop), stacks=0.0)

    def _found(self, found: Found) -> None:
        self.telling.found(found)
        self.feed(found)

    async def _reap(self, group: WorkerGroup, count: int) -> None:
        """Tell each worker's end, once all are told the group has none left."""
        for _ in range(count):
            ended = await group.next_exit()
            self.channel.drain(ended.ranks.local_rank)
            self.telling.ended(ended.ranks.local_rank)
            self.happenings.exited(
                ended,
                preempted=self.is_preempted(ended),
                terminated=self._terminating,
            )
            self.feed(Exited(ended))
