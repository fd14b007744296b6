"""The core's monitors on a loop: they hear, they wait, they tell."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs
import pytest

from elaunch.api import (
    EventName,
    Feed,
    Finding,
    MessageKind,
    Monitor,
    MonitorParameters,
    Pace,
    Request,
    Severity,
    UsageError,
    WatchedGroup,
    WorkerMessage,
)
from elaunch.builtin import elaunch_register_monitors
from elaunch.monitors.deadline import Deadline
from elaunch.monitors.options import DeadlineOptions
from elaunch.monitors.waiting import SETTLING
from elaunch.options import build_options, parse_spec
from elaunch.testing import MonitorContract
from elaunch.testing.simulation import SimulatedLoop


@attrs.define(eq=False)
class Agent:
    """What monitors get of an agent, and what they give."""

    messages: Feed[WorkerMessage] = attrs.field(factory=Feed)
    paces: Feed[Pace] = attrs.field(factory=Feed)
    events: list[tuple[str, dict[str, object]]] = attrs.field(factory=list)
    job: Pace | None = None

    def monitor(self, name: str, **options: str) -> Monitor:
        (provider,) = (p for p in elaunch_register_monitors() if p.name == name)
        params = MonitorParameters(
            "job",
            record=self.record,
            messages=self.messages,
            paces=self.paces,
            job_pace=lambda: self.job,
        )
        given = build_options(provider.options_class(), options, "--monitor")
        return provider.create(params, given)

    def record(self, name: EventName, /, **facts: object) -> None:
        self.events.append((name.value, facts))

    def say(
        self, rank: int, kind: MessageKind = MessageKind.HEARTBEAT, **facts: Any
    ) -> None:
        time = asyncio.get_running_loop().time()
        self.messages.tell(
            WorkerMessage(local_rank=rank, kind=kind, time=time, **facts)
        )


def group(workers: int = 2) -> WatchedGroup:
    """Return workers that are all alive: they are this process."""
    return WatchedGroup(
        pids=dict.fromkeys(range(workers), os.getpid()), base_rank=8, generation=3
    )


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    fresh = SimulatedLoop(1)
    yield fresh
    fresh.close()
    assert fresh.faults == []


@contextlib.asynccontextmanager
async def watching(
    monitor: Monitor, workers: int = 2
) -> AsyncIterator[AsyncIterator[Finding]]:
    monitor.environment()
    async with contextlib.aclosing(monitor.watch(group(workers))) as findings:
        yield findings


async def given_up(finding: "asyncio.Future[Finding]") -> None:
    finding.cancel()
    await asyncio.wait((finding,))


@pytest.mark.parametrize(
    "spec", ["heartbeat", "sections", "straggler", "deadline:job=3600"]
)
class TestContract(MonitorContract):
    @pytest.fixture
    def monitor(self, spec: str) -> Monitor:
        name, options = parse_spec(spec, "--monitor")
        return Agent().monitor(name, **options)


class TestHeartbeat:
    def test_silence_is_found_at_its_limit(
        self, loop: SimulatedLoop, agent: Agent
    ) -> None:
        async def run() -> None:
            monitor = agent.monitor("heartbeat", limit="60", warmup="0")
            async with watching(monitor) as findings:
                finding = asyncio.ensure_future(anext(findings))
                for step in range(100):
                    await asyncio.sleep(10)
                    agent.say(0, step=step)
                    if step < 50:
                        agent.say(1, step=step)
                    if finding.done():
                        break
                assert 500 + 60 <= loop.time() <= 500 + 70
                assert (await finding).local_rank == 1
                assert "its last step was 49" in (await finding).reason

        loop.run_until_complete(run())

    def test_a_first_step_of_ten_minutes_triggers_nothing_under_an_allowance(
        self, loop: SimulatedLoop, agent: Agent
    ) -> None:
        found = loop.run_until_complete(self.first_step_of_600_s(agent, startup=900))

        assert found is None

    def test_and_is_found_without_one(self, loop: SimulatedLoop, agent: Agent) -> None:
        found = loop.run_until_complete(self.first_step_of_600_s(agent, startup=500))

        assert found == 500 + SETTLING

    async def first_step_of_600_s(self, agent: Agent, startup: int) -> float | None:
        """Return when something is found, if it is."""
        loop = asyncio.get_running_loop()
        monitor = agent.monitor("heartbeat", limit="30", startup=str(startup))
        async with watching(monitor) as findings:
            finding = asyncio.ensure_future(anext(findings))
            found: list[float] = []
            finding.add_done_callback(lambda _: found.append(loop.time()))
            await asyncio.sleep(600)
            for _ in range(100):
                for rank in range(2):
                    agent.say(rank)
                await asyncio.sleep(5)
            if finding.done():
                return found[0]
            await given_up(finding)
            return None

    def test_what_the_last_group_said_does_not(
        self, loop: SimulatedLoop, agent: Agent
    ) -> None:
        async def run() -> None:
            monitor = agent.monitor("heartbeat", limit="60", startup="70", warmup="0")
            for _ in range(2):
                async with watching(monitor) as findings:
                    since = loop.time()
                    await anext(findings)
                    assert loop.time() == pytest.approx(since + 70 + SETTLING)
                agent.say(0)

        loop.run_until_complete(run())

    def test_an_agent_that_is_always_late_finds_it_all_the_same(
        self, loop: SimulatedLoop, agent: Agent
    ) -> None:
        process = loop.process("agent")

        async def busy() -> None:
            while True:
                loop.pause(process)
                await asyncio.sleep(0.45)
                loop.resume(process)
                await asyncio.sleep(0.1)

        async def run() -> None:
            monitor = agent.monitor("heartbeat", limit="2", startup="10")
            async with watching(monitor) as findings:
                await anext(findings)

        others = loop.create_task(busy())
        loop.run_until_complete(loop.spawn(process, run()))
        others.cancel()
        assert 10 <= loop.now <= 12

    def test_it_wakes_once_a_second_and_not_for_each_message(
        self, loop: SimulatedLoop, agent: Agent
    ) -> None:
        async def run(times_a_second: int) -> int:
            monitor = agent.monitor("heartbeat", limit="60", warmup="0")
            async with watching(monitor) as findings:
                finding = asyncio.ensure_future(anext(findings))
                await asyncio.sleep(1)
                began = loop.steps
                for _ in range(times_a_second * 100):
                    agent.say(0)
                    agent.say(1)
                    await asyncio.sleep(1 / times_a_second)
                steps = loop.steps - began
                await given_up(finding)
                return steps

        async def sleeping(times_a_second: int) -> int:
            began = loop.steps
            for _ in range(times_a_second * 100):
                await asyncio.sleep(1 / times_a_second)
            return loop.steps - began

        costs = {
            rate: loop.run_until_complete(run(rate))
            - loop.run_until_complete(sleeping(rate))
            for rate in (1, 50)
        }
        assert costs[50] < costs[1] * 1.2

    def test_it_learns_also_while_nothing_has_a_limit_yet(
        self, loop: SimulatedLoop, agent: Agent
    ) -> None:
        async def run() -> None:
            monitor = agent.monitor("heartbeat", startup="0", floor="10")
            async with watching(monitor, workers=1) as findings:
                finding = asyncio.ensure_future(anext(findings))
                for step in range(30):
                    await asyncio.sleep(3)
                    agent.say(0, step=step)
                assert "learned: 5 times the longest of 3.0 s" in (await finding).reason
                assert loop.time() == 90 + 15 + SETTLING
            # What was learned is known in the next generation.
            async with watching(monitor, workers=1) as findings:
                finding = asyncio.ensure_future(anext(findings))
                for step in range(10):
                    await asyncio.sleep(3)
                    agent.say(0, step=step)
                since = loop.time()
                assert "learned" in (await finding).reason
                assert loop.time() == pytest.approx(since + 15 + SETTLING)

        loop.run_until_complete(run())


class TestSections:
    def test_a_limit_that_a_worker_sets_is_enforced(
        self, loop: SimulatedLoop, agent: Agent
    ) -> None:
        async def run() -> None:
            monitor = agent.monitor("sections")
            async with watching(monitor) as findings:
                finding = asyncio.ensure_future(anext(findings))
                await asyncio.sleep(1000)
                agent.say(0)
                agent.say(0, MessageKind.SECTION, name="a", token=1, limit=100)
                agent.say(1, MessageKind.SECTION, name="b", token=1, limit=30)
                agent.say(0, MessageKind.SECTION_END, token=1)
                assert (await finding).local_rank == 1
                assert loop.time() == 1030 + SETTLING
                # The end of the other was heard, though it came with the first.
                finding = asyncio.ensure_future(anext(findings))
                await asyncio.sleep(100)
                assert not finding.done()
                await given_up(finding)

        loop.run_until_complete(run())

    def test_each_group_has_its_own(self, loop: SimulatedLoop, agent: Agent) -> None:
        async def run() -> None:
            monitor = agent.monitor("sections")
            for _ in range(2):
                async with watching(monitor) as findings:
                    since = loop.time()
                    finding = asyncio.ensure_future(anext(findings))
                    await asyncio.sleep(0)
                    agent.say(0, MessageKind.SECTION, token=1, limit=100)
                    await asyncio.sleep(90)
                    agent.say(0, MessageKind.SECTION_END, token=1)
                    agent.say(1, MessageKind.SECTION, token=1, limit=200)
                    assert (await finding).local_rank == 1
                    assert loop.time() == pytest.approx(since + 290 + SETTLING)

        loop.run_until_complete(run())

    def test_limits_are_learned_also_while_nothing_has_one_yet(
        self, loop: SimulatedLoop, agent: Agent
    ) -> None:
        async def run() -> None:
            monitor = agent.monitor("sections", learn="true", floor="10")
            async with watching(monitor) as findings:
                finding = asyncio.ensure_future(anext(findings))
                for token in range(25):
                    agent.say(0, MessageKind.SECTION, name="data", token=token)
                    await asyncio.sleep(3)
                    agent.say(0, MessageKind.SECTION_END, name="data", token=token)
                    await asyncio.sleep(1)
                agent.say(0, MessageKind.SECTION, name="data", token=25)
                assert "learned: 5 times the longest of 3.0 s" in (await finding).reason
                assert loop.time() == 100 + 15 + SETTLING
            # What was learned is known in the next generation.
            async with watching(monitor) as findings:
                finding, since = asyncio.ensure_future(anext(findings)), loop.time()
                await asyncio.sleep(0)
                agent.say(0, MessageKind.SECTION, name="data", token=1)
                assert "learned" in (await finding).reason
                assert loop.time() == pytest.approx(since + 15 + SETTLING)

        loop.run_until_complete(run())


class TestStraggler:
    def test_it_reports_and_names_who_is_always_slow(
        self, loop: SimulatedLoop, agent: Agent
    ) -> None:
        paces: list[Pace] = []
        agent.paces.subscribe(paces.append)

        async def run() -> Finding:
            monitor = agent.monitor("straggler", interval="30", chronic="2")
            async with watching(monitor, workers=3) as findings:
                finding = asyncio.ensure_future(anext(findings))
                for step in range(70):
                    for rank in range(3):
                        agent.say(rank, step=step, step_time=1.0 + rank // 2)
                    await asyncio.sleep(1)
                return await finding

        found = loop.run_until_complete(run())
        assert found.local_rank == 2
        assert found.severity is Severity.DEGRADED
        assert [name for name, _ in agent.events] == ["straggler.report"] * 2
        assert agent.events[0][1] == {
            "ranks": 3,
            "fastest": 1.0,
            "median": 1.0,
            "slowest": 2.0,
            "slowest_rank": 10,
            "step": 29,
            "compared_with": 1.0,
            "of_job": False,
            "slow": [10],
        }
        assert [pace.step for pace in paces] == [9, 19, 29, 39, 49, 59]

    def test_a_report_comes_at_its_time_between_two_looks_at_the_pace(
        self, loop: SimulatedLoop, agent: Agent
    ) -> None:
        async def run() -> None:
            monitor = agent.monitor("straggler", interval="25")
            async with watching(monitor) as findings:
                finding = asyncio.ensure_future(anext(findings))
                for step in range(60):
                    for rank in range(2):
                        agent.say(rank, step=step, step_time=1.0)
                    await asyncio.sleep(1)
                await given_up(finding)

        loop.run_until_complete(run())
        assert [facts["step"] for _, facts in agent.events] == [24, 49]

    def test_the_median_of_the_job_counts_where_it_is_known(
        self, loop: SimulatedLoop, agent: Agent
    ) -> None:
        agent.job = Pace(ranks=64, fastest=0.9, median=1.0, slowest=2.0, slowest_rank=8)

        async def run() -> list[Finding]:
            monitor = agent.monitor("straggler", interval="30", chronic="1")
            async with watching(monitor) as findings:
                finding = asyncio.ensure_future(anext(findings))
                for step in range(31):
                    for rank in range(2):
                        agent.say(rank, step=step, step_time=2.0)
                    await asyncio.sleep(1)
                return [await finding, await anext(findings)]

        found = loop.run_until_complete(run())
        assert {finding.local_rank for finding in found} == {0, 1}
        assert "the median of the job" in found[0].reason

    def test_where_nobody_tells_of_steps_there_is_no_report(
        self, loop: SimulatedLoop, agent: Agent
    ) -> None:
        async def run() -> None:
            async with watching(agent.monitor("straggler")) as findings:
                finding = asyncio.ensure_future(anext(findings))
                for _ in range(100):
                    agent.say(0)
                    await asyncio.sleep(10)
                assert not finding.done()
                await given_up(finding)

        loop.run_until_complete(run())
        assert agent.events == []


class TestDeadline:
    def test_the_end_of_the_jobs_time_is_the_end_of_the_job(
        self, loop: SimulatedLoop
    ) -> None:
        async def run() -> Finding:
            options = DeadlineOptions(job=3600, generation=10_000)
            monitor = Deadline(options, clock=loop.time)
            await asyncio.sleep(1000)
            async with watching(monitor) as findings:
                return await anext(findings)

        found = loop.run_until_complete(run())
        assert loop.now == 3600
        assert found.local_rank is None
        assert found.severity is Severity.UNHEALTHY
        assert found.request is Request.NO_RESTART
        assert not found.hang
        assert found.reason == "the job has taken 3600 s, which is its limit"

    def test_a_generation_may_end_and_the_next_has_its_own_time(
        self, loop: SimulatedLoop
    ) -> None:
        async def run() -> None:
            options = DeadlineOptions(job=3600, generation=1000)
            monitor = Deadline(options, clock=loop.time)
            for number in range(1, 4):
                async with watching(monitor) as findings:
                    found = await anext(findings)
                assert loop.now == number * 1000
                assert found.request is None
                assert found.reason == (
                    "generation 3 has run for 1000 s, which is its limit"
                )
            async with watching(monitor) as findings:
                found = await anext(findings)
            assert loop.now == 3600
            assert found.request is Request.NO_RESTART

        loop.run_until_complete(run())

    @pytest.mark.parametrize("limited", ["job", "generation"])
    def test_one_limit_is_enough(self, loop: SimulatedLoop, limited: str) -> None:
        async def run() -> Finding:
            await asyncio.sleep(50)  # the clock does not begin with the job
            monitor = Deadline(DeadlineOptions(**{limited: 1000}), clock=loop.time)
            await asyncio.sleep(10)
            async with watching(monitor) as findings:
                return await anext(findings)

        found = loop.run_until_complete(run())
        assert loop.now == {"job": 1050, "generation": 1060}[limited]
        assert limited in found.reason

    def test_without_a_limit_it_is_refused(self, agent: Agent) -> None:
        with pytest.raises(UsageError, match="--monitor deadline:job=3600"):
            agent.monitor("deadline")
