"""What workers get of their monitors."""

from collections.abc import AsyncGenerator, Mapping

import attrs

from elaunch.agent.watching import variables
from elaunch.api import EventName, Finding, Severity, WatchedGroup
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
