"""Before a group is stopped for a hang its stacks are written down, once."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

import attrs
import pytest
from stories import world

from elaunch.api import Finding, Severity, WatchedGroup
from elaunch.monitor import NamedMonitor
from elaunch.testing.simulation import Report, Stimulus


@attrs.define(eq=False)
class Finds:
    """A monitor that finds the same of each worker of the first generation."""

    hang: bool
    severity: Severity
    log: list[float] = attrs.field(factory=list)

    def environment(self) -> Mapping[str, str]:
        return {}

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        if group.generation > 1:
            return
        await asyncio.sleep(1.0)
        for local_rank in reversed(group.pids):
            yield Finding(
                local_rank=local_rank,
                severity=self.severity,
                reason="silent",
                hang=self.hang,
            )
            self.log.append(asyncio.get_running_loop().time())


def run(*monitors: Finds, dump_time: float = 2.0) -> Report:
    only = {"nodes": 1, "min_nodes": 1, "max_nodes": 1}
    simulation = world(1, [Stimulus(0.0, "start", "n0")], **only, max_restarts=1)
    simulation.laws.failures = 1  # what the monitors find is one
    node = simulation.nodes["n0"]
    node.local_world_size = 2
    node.habits.dump_time = dump_time
    node.monitors = [NamedMonitor(f"m{n}", each) for n, each in enumerate(monitors)]
    report = simulation.run()
    assert report.broken == ()
    return report


def lines(report: Report, word: str) -> list[str]:
    return [line for line in report.story if word in line]


def test_stacks_are_written_before_the_stop_and_named_where_the_hang_is_told() -> None:
    report = run(Finds(hang=True, severity=Severity.UNHEALTHY))

    found, stopping = lines(report, "monitor.finding")[0], lines(report, "stopping")[0]
    assert report.story.index(found) < report.story.index(stopping)
    # First the file of the worker that is meant.
    assert "stacks=['stacks/1/rank-1.txt', 'stacks/1/rank-0.txt']" in found
    assert report.generations == 2
    assert "all workers succeeded" in "\n".join(report.story)


def test_the_monitor_goes_on_when_they_are_written() -> None:
    monitor = Finds(hang=True, severity=Severity.UNHEALTHY)
    run(monitor, dump_time=2.0)

    quick = Finds(hang=True, severity=Severity.UNHEALTHY)
    run(quick, dump_time=0.0)

    assert monitor.log[0] - quick.log[0] == pytest.approx(2.0)


@pytest.mark.parametrize("slow", ["n0", "n1"])
def test_each_node_shows_where_it_hangs_however_soon_another_has(slow: str) -> None:
    nodes = [Stimulus(0.0, "start", name) for name in ("n0", "n1")]
    simulation = world(1, nodes, nodes=2, max_restarts=1)
    simulation.laws.failures = 2
    for name, node in simulation.nodes.items():
        monitor = Finds(hang=True, severity=Severity.UNHEALTHY)
        node.monitors = [NamedMonitor("silence", monitor)]
        node.habits.dump_time = 0.9 if name == slow else 0.1
    report = simulation.run()

    assert report.broken == ()
    assert report.generations == 2
    for name in ("n0", "n1"):
        mine = [line for line in report.story if f" {name}" in line]
        found = next(n for n, line in enumerate(mine) if "stacks=" in line)
        stopping = next(n for n, line in enumerate(mine) if "group.stopping" in line)
        assert found < stopping


def test_two_monitors_find_it_and_it_is_written_once() -> None:
    two = [Finds(hang=True, severity=Severity.UNHEALTHY) for _ in range(2)]
    report = run(*two)

    assert len(lines(report, "stacks=['stacks/1/rank-1.txt'")) == 2
    assert two[0].log[0] == two[1].log[0]


@pytest.mark.parametrize(
    ("hang", "severity"),
    [(True, Severity.DEGRADED), (True, Severity.INFO), (False, Severity.UNHEALTHY)],
)
def test_nothing_else_is_worth_the_time(*, hang: bool, severity: Severity) -> None:
    monitor = Finds(hang=hang, severity=severity)
    report = run(monitor, dump_time=5.0)

    assert "stacks=" not in "\n".join(report.story)


def test_a_spawner_that_does_not_keep_to_its_time_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from elaunch.testing.simulation.workers import SimulatedGroup

    async def never(*_: object) -> Mapping[int, str]:
        await asyncio.sleep(1e6)
        return {}

    monkeypatch.setattr(SimulatedGroup, "dump_stacks", never)
    report = run(Finds(hang=True, severity=Severity.UNHEALTHY))

    assert "reason=silent" in "\n".join(report.story)
    assert report.generations == 2
