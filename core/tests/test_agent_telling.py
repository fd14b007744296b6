"""What an agent makes of its workers' words: requests, and what the job is told."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import attrs
import pytest

from elaunch.agent.hearing import Requests
from elaunch.agent.messages import Asked, Found
from elaunch.agent.tasks import Tasks
from elaunch.agent.telling import AT_ONCE, LAST_CHANCE, SELDOM, SOON, Telling
from elaunch.api import (
    EventName,
    Feed,
    Finding,
    MessageKind,
    Pace,
    RendezvousUnreachable,
    Request,
    Severity,
    ToldFinding,
    Vitals,
    WatchedGroup,
    WorkerMessage,
)
from elaunch.events import Value
from elaunch.testing.simulation import SimulatedLoop
from elaunch.vitals import MAX_FINDINGS


GROUP = WatchedGroup(pids={0: 100, 1: 101}, base_rank=4, generation=3)
PACE = Pace(ranks=2, fastest=1.0, median=1.0, slowest=2.0, slowest_rank=5)


@attrs.define(eq=False)
class Job:
    """The agent around it, the job, and what both heard, in virtual time."""

    loop: SimulatedLoop
    messages: Feed[WorkerMessage] = attrs.field(factory=Feed)
    paces: Feed[Pace] = attrs.field(factory=Feed)
    heard: list[tuple[float, Vitals]] = attrs.field(factory=list)
    events: list[dict[str, Value]] = attrs.field(factory=list)
    asked: list[Asked] = attrs.field(factory=list)
    takes: float = 0.0
    turns: float = 0.0
    unreachable: bool = False
    telling: Telling = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.telling = Telling(
            tell=self.tell,
            host="h",
            messages=self.messages,
            paces=self.paces,
            record=self.record,
            tasks=Tasks(on_fault=self.fault),
        )

    async def tell(self, vitals: Vitals, *, at_once: bool = False) -> None:
        await asyncio.sleep(self.takes if at_once else self.takes + self.turns)
        if self.unreachable:
            raise RendezvousUnreachable("it is gone")
        self.heard.append((self.loop.time(), vitals))

    def record(self, name: EventName, /, **facts: Value) -> None:
        self.events.append({"name": name.value, **facts})

    def fault(self, error: BaseException) -> None:
        raise error

    def say(self, kind: MessageKind, local_rank: int = 0, **facts: object) -> None:
        self.messages.tell(
            WorkerMessage(local_rank=local_rank, kind=kind, time=0.0, **facts)  # type: ignore[arg-type] # any of them
        )

    def progress(self, marker: float, local_rank: int = 0) -> None:
        self.say(MessageKind.PROGRESS, local_rank, marker=marker)

    def find(self, severity: Severity = Severity.DEGRADED, number: int = 0) -> None:
        finding = Finding(local_rank=1, severity=severity, reason=f"reason {number}")
        self.telling.found(
            Found(finding=finding, monitor="m", pid=101, timestamp=float(number))
        )

    def run(self, story: Callable[[], Awaitable[None]]) -> None:
        async def begun() -> None:
            await self.telling.begin(GROUP)
            await story()
            await self.telling.end()

        self.loop.run_until_complete(begun())

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.heard]

    @property
    def markers(self) -> list[float | None]:
        return [vitals.progress for _, vitals in self.heard]


@pytest.fixture
def job() -> Iterator[Job]:
    loop = SimulatedLoop(1)
    yield Job(loop)
    loop.close()
    assert loop.faults == []


class TestTelling:
    def test_progress_is_told_at_once_and_then_once_a_second(self, job: Job) -> None:
        async def story() -> None:
            for marker in range(30):
                job.progress(marker)
                await asyncio.sleep(0.1)
            await asyncio.sleep(5)

        job.run(story)
        assert job.times == pytest.approx([0.0, 1.0, 2.0, 3.0], abs=1e-6)
        assert job.markers == pytest.approx([0, 10, 20, 29], abs=1)
        assert job.markers[-1] == 29
        assert job.heard[0][1].generation == 3

    def test_of_all_workers_the_farthest_counts(self, job: Job) -> None:
        async def story() -> None:
            job.progress(7, local_rank=1)
            job.progress(5)
            await asyncio.sleep(5)
            job.progress(6)
            await asyncio.sleep(5)

        job.run(story)
        assert job.markers == [7]
        assert job.events == [
            {"name": "worker.progress", "rank": 5, "local_rank": 1, "marker": 7}
        ]

    def test_nothing_is_told_where_nobody_says_anything(self, job: Job) -> None:
        async def story() -> None:
            job.say(MessageKind.HEARTBEAT, step=1)
            await asyncio.sleep(100)

        job.run(story)
        assert job.heard == []
        assert job.events == []

    def test_findings_are_told_but_no_pieces_of_information(self, job: Job) -> None:
        async def story() -> None:
            job.find(Severity.INFO)
            await asyncio.sleep(5)
            assert job.heard == []
            job.find()
            await asyncio.sleep(5)

        job.run(story)
        ((_, vitals),) = job.heard
        assert vitals.findings == (
            ToldFinding(
                host="h",
                rank=5,
                monitor="m",
                severity="degraded",
                reason="reason 0",
                timestamp=0.0,
            ),
        )

    def test_a_finding_about_the_node_is_about_no_rank(self, job: Job) -> None:
        async def story() -> None:
            finding = Finding(
                local_rank=None, severity=Severity.UNHEALTHY, reason="hot"
            )
            job.telling.found(Found(finding=finding, monitor="m", pid=0, timestamp=1.0))
            await asyncio.sleep(5)

        job.run(story)
        assert job.heard[0][1].findings[0].rank is None

    def test_only_the_last_findings_are_told(self, job: Job) -> None:
        async def story() -> None:
            for number in range(MAX_FINDINGS + 3):
                job.find(number=number)
            await asyncio.sleep(5)

        job.run(story)
        told = [finding.reason for finding in job.heard[0][1].findings]
        assert told == [f"reason {n}" for n in range(3, MAX_FINDINGS + 3)]

    def test_the_pace_is_told_seldom_and_with_all_else(self, job: Job) -> None:
        async def story() -> None:
            for number in range(25):
                job.paces.tell(attrs.evolve(PACE, step=number))
                if number == 12:
                    job.progress(1)
                await asyncio.sleep(1)

        job.run(story)
        steps = [vitals.pace and vitals.pace.step for _, vitals in job.heard]
        assert job.times == pytest.approx([0, 10, 12, 22], abs=1e-6)
        assert steps == pytest.approx([0, 10, 12, 22], abs=1)

    def test_a_failure_tells_what_is_not_told_before_it_is_reported(
        self, job: Job
    ) -> None:
        async def story() -> None:
            job.progress(1)
            await asyncio.sleep(SOON / 2)
            job.progress(2)
            await job.telling.flush()
            assert job.markers == [1, 2]
            await job.telling.flush()
            await asyncio.sleep(5)

        job.run(story)
        assert job.markers == [1, 2]

    def test_a_failure_waits_for_no_turn_of_its_node(self, job: Job) -> None:
        """Nor is it what was known when that wait began that is told."""

        async def story() -> None:
            job.turns = 8.0
            job.progress(1)
            await asyncio.sleep(SOON)
            job.progress(2)
            await asyncio.sleep(SOON)
            assert job.heard == []
            begin = job.loop.time()
            await job.telling.flush()
            assert job.loop.time() == begin
            assert job.markers == [2]
            await asyncio.sleep(SELDOM)
            job.progress(3)  # whatever comes of the failure, others may follow
            await asyncio.sleep(SOON + job.turns)

        job.run(story)
        assert job.markers == [2, 3]

    def test_a_failure_tells_also_what_waits_for_its_turn_and_is_not_followed(
        self, job: Job
    ) -> None:
        async def story() -> None:
            job.turns = 8.0
            job.progress(1)
            await asyncio.sleep(SOON)
            await job.telling.flush()
            assert job.markers == [1]

        job.run(story)

    def test_a_failure_that_is_given_up_leaves_nothing_behind(self, job: Job) -> None:
        async def story() -> None:
            job.takes = 3600.0
            job.progress(1)
            await asyncio.sleep(SOON)
            flushing = asyncio.create_task(job.telling.flush())
            await asyncio.sleep(LAST_CHANCE / 2)
            await job.telling.end()
            await flushing
            job.takes = 0.0
            job.progress(2)
            await asyncio.sleep(SELDOM)

        job.run(story)
        assert job.heard == []

    def test_a_store_that_does_not_answer_holds_up_no_report_for_long(
        self, job: Job
    ) -> None:
        async def story() -> None:
            job.takes = 3600.0
            job.progress(1)
            await asyncio.sleep(SOON)
            begin = job.loop.time()
            await job.telling.flush()
            assert job.loop.time() - begin <= LAST_CHANCE

        job.run(story)

    def test_a_store_that_takes_nothing_is_asked_again_later(self, job: Job) -> None:
        async def story() -> None:
            job.unreachable = True
            job.progress(1)
            await asyncio.sleep(SOON)
            job.unreachable = False
            await asyncio.sleep(SELDOM)

        job.run(story)
        assert job.times == pytest.approx([SELDOM], abs=1e-6)
        assert job.markers == [1]

    def test_what_was_not_told_of_progress_is_told_in_the_next_generation(
        self, job: Job
    ) -> None:
        async def story() -> None:
            job.unreachable = True
            job.progress(1)
            job.find()
            job.paces.tell(PACE)
            await asyncio.sleep(SOON)
            job.unreachable = False
            await job.telling.begin(attrs.evolve(GROUP, generation=4))
            await asyncio.sleep(SOON)

        job.run(story)
        assert [vitals for _, vitals in job.heard] == [Vitals(generation=4, progress=1)]

    def test_progress_at_the_end_is_recorded(self, job: Job) -> None:
        async def story() -> None:
            job.progress(1)
            await asyncio.sleep(SOON / 2)
            job.progress(2)

        job.run(story)
        assert [event["marker"] for event in job.events] == [1, 2]
        job.progress(3)
        assert len(job.events) == 2


class TestHolds:
    def held(self, job: Job) -> list[tuple[float, list[tuple[int, int, float]]]]:
        return [
            (
                round(time, 3),
                [(h.rank, h.number, round(h.seconds, 3)) for h in vitals.holds],
            )
            for time, vitals in job.heard
        ]

    def test_holds_and_their_ends_are_told_at_once(self, job: Job) -> None:
        async def story() -> None:
            job.progress(1)
            await asyncio.sleep(SOON / 2)
            job.say(MessageKind.HOLD_SCALING, 1, limit=60.0)
            await asyncio.sleep(SOON / 4)
            job.say(MessageKind.RELEASE_SCALING, 1)
            await asyncio.sleep(SOON)
            job.say(MessageKind.RELEASE_SCALING, 1)
            await asyncio.sleep(100)

        job.run(story)
        assert self.held(job) == [(0.0, []), (0.5, [(5, 1, 60.0)]), (0.75, [])]

    def test_one_that_runs_out_is_told_when_it_does(self, job: Job) -> None:
        async def story() -> None:
            job.say(MessageKind.HOLD_SCALING, limit=3.0)
            await asyncio.sleep(1)
            job.progress(1)
            await asyncio.sleep(100)

        job.run(story)
        assert self.held(job) == [
            (0.0, [(4, 1, 3.0)]),
            (1.0, [(4, 1, 2.0)]),
            (3.0, []),
        ]

    def test_who_holds_in_each_step_is_told_of_once_a_second(self, job: Job) -> None:
        async def story() -> None:
            for _ in range(20):
                job.say(MessageKind.HOLD_SCALING, limit=3.0)
                await asyncio.sleep(0.25)
            await asyncio.sleep(100)

        job.run(story)
        assert len(job.heard) <= 8
        assert {h.number for _, vitals in job.heard for h in vitals.holds} == {1}
        assert job.times[-1] == pytest.approx(4.75 + 3.0)
        assert job.heard[-1][1] == Vitals(generation=3)

    def test_who_holds_again_at_once_has_released_it(self, job: Job) -> None:
        """And is not told of in between more often than the store can take."""

        async def story() -> None:
            for _ in range(50):
                job.say(MessageKind.HOLD_SCALING, limit=60.0)
                await asyncio.sleep(0.01)
                job.say(MessageKind.RELEASE_SCALING)
            job.say(MessageKind.HOLD_SCALING, limit=60.0)
            await asyncio.sleep(1)

        job.run(story)
        assert len(job.heard) <= 0.5 / AT_ONCE + 2
        assert job.heard[-1][1].holds[0].number == 51

    def test_a_worker_that_is_gone_holds_no_more(self, job: Job) -> None:
        async def story() -> None:
            for rank in (0, 1):
                job.say(MessageKind.HOLD_SCALING, rank, limit=60.0)
            await asyncio.sleep(1)
            job.telling.ended(0)
            await asyncio.sleep(1)

        job.run(story)
        assert [h.rank for h in job.heard[-1][1].holds] == [5]

    def test_a_new_group_holds_nothing(self, job: Job) -> None:
        async def story() -> None:
            job.say(MessageKind.HOLD_SCALING, limit=60.0)
            await asyncio.sleep(1)
            await job.telling.begin(attrs.evolve(GROUP, generation=4))
            job.progress(1)
            await asyncio.sleep(100)

        job.run(story)
        assert job.heard[-1][1] == Vitals(generation=4, progress=1)
        assert len(job.heard) == 2

    def test_a_failure_is_told_no_later_for_a_hold_that_is_known(
        self, job: Job
    ) -> None:
        async def story() -> None:
            job.say(MessageKind.HOLD_SCALING, limit=60.0)
            await asyncio.sleep(1)
            await job.telling.flush()

        job.run(story)
        assert len(job.heard) == 1


class TestRequests:
    @pytest.fixture
    def requests(self, job: Job) -> Requests:
        fresh = Requests(job.messages, job.record, job.asked.append, lambda: 1.5)
        fresh.begin(GROUP)
        return fresh

    @pytest.mark.parametrize(
        ("kind", "request_", "word"),
        [
            (MessageKind.NO_RESTART, Request.NO_RESTART, "no-restart"),
            (MessageKind.EXCLUDE_NODE, Request.EXCLUDE_NODE, "exclude-node"),
        ],
    )
    @pytest.mark.usefixtures("requests")
    def test_each_is_recorded_and_handed_on(
        self, job: Job, kind: MessageKind, request_: Request, word: str
    ) -> None:
        job.say(kind, local_rank=1, reason="why")

        assert job.asked == [
            Asked(request=request_, local_rank=1, pid=101, timestamp=1.5, reason="why")
        ]
        assert job.events == [
            {
                "name": "worker.request",
                "rank": 5,
                "local_rank": 1,
                "pid": 101,
                "request": word,
                "reason": "why",
            }
        ]

    def test_each_counts_once_in_a_generation(
        self, job: Job, requests: Requests
    ) -> None:
        for _ in range(3):
            for rank in (0, 1):
                job.say(MessageKind.NO_RESTART, local_rank=rank)
                job.say(MessageKind.EXCLUDE_NODE, local_rank=rank)
        assert len(job.asked) == len(job.events) == 4
        requests.begin(attrs.evolve(GROUP, base_rank=0))
        job.say(MessageKind.NO_RESTART)

        assert job.events[-1]["rank"] == 0
        assert len(job.events) == 5

    def test_nothing_else_is_a_request(self, job: Job, requests: Requests) -> None:
        job.say(MessageKind.HEARTBEAT)
        job.progress(1)
        requests.end()
        job.say(MessageKind.NO_RESTART)

        assert job.asked == []
