"""What workers get of their monitors."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

import attrs
import pytest

from elaunch.agent.messages import Found
from elaunch.agent.watching import variables, watch
from elaunch.api import EventName, Finding, Severity, WatchedGroup, discard
from elaunch.monitor import NamedMonitor


@attrs.define
class Speaks:
    """A monitor that only tells its workers something."""

    told: dict[str, str] | None

    def environment(self) -> Mapping[str, str]:
        if self.told is None:
            raise OSError("no place left")
        return self.told

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        for rank in group.pids:
            yield Finding(local_rank=rank, severity=Severity.INFO, reason="seen")


@attrs.define
class Waits:
    """A monitor that finds something after some seconds."""

    seconds: float

    def environment(self) -> Mapping[str, str]:
        return {}

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        await asyncio.sleep(self.seconds)
        for rank in group.pids:
            yield Finding(local_rank=rank, severity=Severity.INFO, reason="late")


async def no_stacks(_: int | None) -> tuple[str, ...]:
    return ()


@pytest.mark.asyncio
async def test_a_finding_tells_how_long_the_workers_had_run() -> None:
    found: list[Found] = []
    begin = asyncio.get_running_loop().time()
    monitor = NamedMonitor("slow", Waits(0.01))

    await watch(monitor, WatchedGroup(pids={0: 7}), discard, found.append, no_stacks)

    uptime = found[0].uptime
    assert uptime is not None
    assert 0.01 <= uptime <= asyncio.get_running_loop().time() - begin


def test_workers_get_what_each_monitor_tells_and_one_that_raises_nothing() -> None:
    recorded: list[str] = []

    def record(name: EventName, /, **facts: object) -> None:
        recorded.append(f"{name.value}: {facts['reason']}")

    monitors = [
        NamedMonitor("first", Speaks({"A": "1"})),
        NamedMonitor("silent", Speaks(None)),
        NamedMonitor("last", Speaks({"B": "2"})),
    ]

    assert variables(monitors, record) == {"A": "1", "B": "2"}
    (said,) = recorded
    assert said == (
        "monitor.finding: monitor 'silent' has nothing for workers: "
        "OSError('no place left')"
    )
