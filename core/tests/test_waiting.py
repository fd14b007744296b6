"""Waits of monitors: until a moment, in naps, with an eye on pauses of the agent."""

import asyncio
import itertools
import math
import time
from collections.abc import Iterator

import pytest

from elaunch.monitors.waiting import (
    SETTLING,
    Pause,
    Waiting,
    nap_of,
)
from elaunch.testing.simulation import Process, SimulatedLoop


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    fresh = SimulatedLoop(1)
    yield fresh
    fresh.close()
    assert fresh.faults == []


@pytest.fixture
def agent(loop: SimulatedLoop) -> Process:
    return loop.process("agent", offset=1000.0)


def test_it_ends_at_its_moment(loop: SimulatedLoop) -> None:
    async def run() -> list[float]:
        waiting, ends = Waiting(), []
        for moment in (0.5, 0.5, 1.25):
            assert await waiting.until(moment) is None
            ends.append(waiting.now)
        return ends

    assert loop.run_until_complete(run()) == [0.5, 0.5 + SETTLING, 1.25]


def test_it_is_looked_at_the_clock_in_between(loop: SimulatedLoop) -> None:
    async def run() -> None:
        await Waiting(nap=0.25).until(100)

    loop.run_until_complete(run())
    assert loop.now == 0.25


def test_without_a_moment_it_naps_too_since_limits_may_be_learned(
    loop: SimulatedLoop,
) -> None:
    async def run() -> None:
        waiting = Waiting(nap=0.25)
        assert await waiting.until(math.inf) is None
        assert loop.time() == 0.25
        loop.call_later(0.1, waiting.expect, 600.0)
        loop.call_later(0.2, waiting.expect, 0.3)
        await waiting.until(math.inf)
        assert loop.time() == 0.45

    loop.run_until_complete(run())


def test_an_earlier_moment_ends_it_and_a_later_one_does_not(
    loop: SimulatedLoop,
) -> None:
    async def run() -> None:
        waiting = Waiting(nap=100)
        loop.call_later(1, waiting.expect, 70.0)
        loop.call_later(2, waiting.expect, 50.0)
        await waiting.until(60)
        assert waiting.now == 2
        await waiting.until(60)
        assert waiting.now == 60

    loop.run_until_complete(run())


def paused(
    loop: SimulatedLoop,
    agent: Process,
    *times: tuple[float, float],
    moment: float = 1500,
) -> list[Pause]:
    """Return the pauses that an agent sees in 20 s which did not run at some times."""
    seen = []

    async def run() -> None:
        waiting = Waiting(nap=1.0)
        while loop.time() < 1020:
            ahead = moment if loop.time() < moment else 1500
            if pause := await waiting.until(ahead):
                seen.append(pause)

    watching = loop.spawn(agent, run())
    began = loop.now
    for since, until in times:
        loop.call_at(began + since, loop.pause, agent)
        loop.call_at(began + until, loop.resume, agent)
    loop.run_until_complete(watching)
    return seen


@pytest.mark.parametrize(("since", "until"), [(5.1, 9.4), (5.9, 9.4), (5.1, 6.6)])
def test_a_pause_of_the_agent_is_seen(
    loop: SimulatedLoop, agent: Process, since: float, until: float
) -> None:
    (pause,) = paused(loop, agent, (since, until))

    assert pause.since <= 1000 + since < pause.since + 1
    assert pause.until == 1000 + until


@pytest.mark.parametrize("moment", [1500, 1006, 1009])
def test_nor_is_one_missed_that_follows_another_at_once(
    loop: SimulatedLoop, agent: Process, moment: float
) -> None:
    seen = paused(loop, agent, (5.1, 9.4), (9.4, 15), moment=moment)

    assert seen[0].since <= 1005.1
    assert seen[-1].until == 1015
    assert all(one.until == two.since for one, two in itertools.pairwise(seen))


def test_nor_is_one_missed_that_falls_between_two_waits(loop: SimulatedLoop) -> None:
    async def run() -> list[Pause | None]:
        waiting = Waiting(nap=1.0)
        first = await waiting.until(100)
        await asyncio.sleep(30)  # it judges, and is stopped meanwhile
        return [first, await waiting.until(100), await waiting.until(100)]

    assert loop.run_until_complete(run()) == [None, Pause(1, 32), None]


@pytest.mark.parametrize(("since", "until"), [(5.1, 5.9), (5.1, 6.4)])
def test_a_wake_that_is_a_bit_late_is_no_pause(
    loop: SimulatedLoop, agent: Process, since: float, until: float
) -> None:
    assert paused(loop, agent, (since, until)) == []


def test_a_pause_is_seen_although_a_message_came_at_its_end(
    loop: SimulatedLoop, agent: Process
) -> None:
    waiting = Waiting(nap=1.0, now=1000)
    watching = loop.spawn(agent, waiting.until(1500))
    loop.call_later(0.5, loop.pause, agent)
    loop.call_later(0.7, loop.arrive, 0, agent, waiting.expect, 1000.0)
    loop.call_later(30, loop.resume, agent)

    assert loop.run_until_complete(watching) == Pause(1000, 1030)


def test_a_blocked_loop_is_a_pause() -> None:
    async def run() -> Pause | None:
        loop = asyncio.get_running_loop()
        loop.call_soon(time.sleep, 0.2)
        return await Waiting(nap=0.1).until(loop.time() + 600)

    pause = asyncio.run(run())
    assert pause
    assert pause.until - pause.since >= 0.2


def test_what_is_read_late_is_read_before_a_judgement(loop: SimulatedLoop) -> None:
    async def run() -> list[float]:
        read: list[float] = []
        loop.call_later(60 + SETTLING / 2, read.append, 1.0)
        await Waiting(nap=100).until(60)
        return read

    assert loop.run_until_complete(run()) == [1.0]


def test_naps_are_short_where_limits_are() -> None:
    assert nap_of([]) == nap_of([0, 600]) == 5
    assert nap_of([600, 32]) == 2
    # A busy host wakes nobody within some hundredths of a second.
    assert nap_of([0.001]) == 1

    waiting = Waiting(now=0)
    for limit in (None, 600, 32, 64):
        waiting.mind(limit)
    assert waiting.nap == 2


def test_a_time_that_is_over_in_a_pause_is_as_long_as_without() -> None:
    pause = Pause(10, 30)

    assert pause.shifted(5) == 25
    assert pause.shifted(15) == 30
    assert pause.shifted(30) == 30
    assert pause.shifted(40) == 40
