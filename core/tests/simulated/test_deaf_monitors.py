"""Monitors that go on when they are cancelled hold up neither a restart nor the end."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Mapping

import attrs
import pytest
from stories import world

from elaunch.agent.watching import RELEASE
from elaunch.api import Finding, Severity, WatchedGroup
from elaunch.monitor import NamedMonitor
from elaunch.testing.simulation import Report, Stimulus


@attrs.define(eq=False)
class Fails:
    """Finds the workers of the first generation unhealthy, and is well-behaved."""

    def environment(self) -> Mapping[str, str]:
        return {}

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        if group.generation == 1:
            await asyncio.sleep(1.0)
            yield Finding(
                local_rank=0, severity=Severity.UNHEALTHY, reason="as it was told"
            )
        gc.collect()  # takes a monitor that was left alone, and is held by nobody
        await asyncio.Event().wait()


@attrs.define(eq=False)
class Deaf:
    """Hears of no cancellation.

    Attributes:
        finds: What it finds each time instead.
        forgets: Whether it also hides from its task that it was cancelled.
        times: How often it does so; then it ends.
    """

    finds: Severity | None = None
    forgets: bool = False
    times: float = float("inf")
    groups: list[int] = attrs.field(factory=list)
    asked: int = 0

    def environment(self) -> Mapping[str, str]:
        self.asked += 1
        return {}

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        self.groups.append(group.generation)
        heard = 0
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                heard += 1
                if heard > self.times:
                    raise
                task = asyncio.current_task()
                if self.forgets and task:
                    task.uncancel()
            if self.finds:
                yield Finding(local_rank=0, severity=self.finds, reason="of no use")


def run(deaf: Deaf) -> Report:
    nodes = [Stimulus(0.0, "start", name) for name in ("n0", "n1")]
    simulation = world(1, nodes, nodes=2, max_restarts=1)
    simulation.laws.failures = 1
    simulation.nodes["n0"].monitors = [
        NamedMonitor("deaf", deaf),
        NamedMonitor("good", Fails()),
    ]
    report = simulation.run()
    assert report.broken == (), "\n".join(report.story)
    return report


def lines(report: Report, *words: str) -> list[str]:
    return [line for line in report.story if all(word in line for word in words)]


def when(line: str) -> float:
    return float(line.split(maxsplit=1)[0])


@pytest.mark.parametrize("forgets", [False, True])
def test_the_job_restarts_and_ends_without_it(*, forgets: bool) -> None:
    deaf = Deaf(forgets=forgets)
    report = run(deaf)

    assert report.generations == 2
    assert lines(report, "all workers succeeded")
    (told,) = lines(report, "monitor.finding", "disabled")
    assert "monitor 'deaf' is disabled: it goes on 2 s after it was cancelled" in told
    # No later group has it, nor has what it would tell workers.
    assert (deaf.groups, deaf.asked) == ([1], 1)


def test_the_restart_is_held_up_for_no_longer_than_it_may_take() -> None:
    report = run(Deaf())

    (stopped,) = lines(report, "n0: group.stopped")
    (again,) = lines(report, "n0: generation.joined", "generation=2")
    assert RELEASE <= when(again) - when(stopped) < RELEASE + 0.5


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("severity", list(Severity))
def test_what_it_finds_after_that_counts_for_nothing(
    severity: Severity, *, forgets: bool
) -> None:
    deaf = Deaf(finds=severity, forgets=forgets)
    report = run(deaf)

    assert report.generations == 2
    assert lines(report, "all workers succeeded")
    assert not lines(report, "of no use")
    # It has come to an end where it found something, and is as good as any other.
    assert not lines(report, "disabled")
    assert deaf.groups == [1, 2]


def test_one_that_ends_in_time_is_not_blamed() -> None:
    """As one that misses a cancellation by chance."""
    deaf = Deaf(times=1)
    report = run(deaf)

    assert not lines(report, "disabled")
    assert deaf.groups == [1, 2]
