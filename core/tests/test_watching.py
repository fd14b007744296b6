"""What workers get of their monitors."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

import attrs
import pytest

from elaunch.agent.messages import Found
from elaunch.agent.watching import Watch, variables, watch
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


@attrs.define
class Faulty:
    """A monitor that fails at some moment of its life."""

    fails: str

    def environment(self) -> Mapping[str, str]:
        return {}

    def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        if self.fails == "before":
            raise OSError("before")
        return self._watch(min(group.pids))

    async def _watch(self, rank: int) -> AsyncGenerator[Finding, None]:
        try:
            yield Finding(local_rank=rank, severity=Severity.INFO, reason="seen")
            if self.fails == "meanwhile":
                raise OSError("meanwhile")
            await asyncio.Event().wait()
        finally:
            if self.fails == "when it is closed":
                raise OSError("when it is closed")


async def no_stacks(_: int | None) -> tuple[str, ...]:
    return ()


@pytest.mark.asyncio
async def test_a_finding_tells_how_long_the_workers_had_run() -> None:
    found: list[Found] = []
    begin = asyncio.get_running_loop().time()
    monitor = Watch(NamedMonitor("slow", Waits(0.01)))

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


@pytest.mark.asyncio
@pytest.mark.parametrize("moment", ["before", "meanwhile", "when it is closed"])
async def test_one_that_fails_is_told_of_and_hurts_nobody(moment: str) -> None:
    said: list[object] = []
    seen = asyncio.Event()

    def record(name: EventName, /, **facts: object) -> None:
        assert name is EventName.MONITOR_FINDING
        said.append(facts["reason"])
        seen.set()

    watching = asyncio.ensure_future(
        watch(
            Watch(NamedMonitor("bad", Faulty(moment))),
            WatchedGroup(pids={0: 7}),
            record,
            lambda _: None,
            no_stacks,
        )
    )
    await seen.wait()
    if moment == "when it is closed":
        watching.cancel()
    await watching

    assert said[-1] == f"monitor 'bad' failed and is disabled: OSError('{moment}')"


@pytest.mark.asyncio
async def test_evidence_takes_no_place_of_what_every_finding_has() -> None:
    recorded: list[dict[str, object]] = []

    @attrs.define
    class Shows(Speaks):
        async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
            evidence = {"rank": "of a device", "reason": "none", "heat": "99"}
            for rank in group.pids:
                yield Finding(
                    local_rank=rank,
                    severity=Severity.INFO,
                    reason="hot",
                    evidence=evidence,
                )

    def record(name: EventName, /, **facts: object) -> None:
        assert name is EventName.MONITOR_FINDING
        recorded.append(facts)

    group = WatchedGroup(pids={0: 7}, base_rank=8)
    hot = Watch(NamedMonitor("hot", Shows({})))
    await watch(hot, group, record, lambda _: None, no_stacks)

    (facts,) = recorded
    assert (facts["rank"], facts["reason"], facts["heat"]) == (8, "hot", "99")
