"""What workers get of their monitors."""

from collections.abc import AsyncGenerator, Mapping

import attrs

from elaunch.agent.watching import variables
from elaunch.api import EventName, Finding, Severity


@attrs.define
class Speaks:
    """A monitor that only tells its workers something."""

    told: dict[str, str] | None

    def environment(self) -> Mapping[str, str]:
        if self.told is None:
            raise OSError("no place left")
        return self.told

    async def watch(self, pids: Mapping[int, int]) -> AsyncGenerator[Finding, None]:
        for rank in pids:
            yield Finding(local_rank=rank, severity=Severity.INFO, reason="seen")


def test_workers_get_what_each_monitor_tells_and_one_that_raises_nothing() -> None:
    recorded: list[str] = []

    def record(name: EventName, /, **facts: object) -> None:
        recorded.append(f"{name.value}: {facts['reason']}")

    monitors = [Speaks({"A": "1"}), Speaks(None), Speaks({"B": "2"})]

    assert variables(monitors, record) == {"A": "1", "B": "2"}
    (said,) = recorded
    assert said == (
        "monitor.finding: monitor Speaks(told=None) has nothing for workers: "
        "OSError('no place left')"
    )
