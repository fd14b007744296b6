"""How a job goes, from what its nodes tell."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import attrs
import pytest
import pytest_asyncio

from elaunch.keyspace import Keyspace
from elaunch.membership import bulletins, coordinator
from elaunch.membership.bulletins import Bulletins
from elaunch.membership.job_vitals import (
    MAX_JOB_FINDINGS,
    JobVitals,
    overall,
    sound,
)
from elaunch.membership.options import RendezvousOptions
from elaunch.membership.planner import plan
from elaunch.membership.records import JobPhase, JobRecord, Keys, encode
from elaunch.membership.rendezvous import StoreRendezvous
from elaunch.membership.roster import Roster
from elaunch.membership.steps import Step
from elaunch.memory_store import MemoryStore
from elaunch.rendezvous import JobSettings
from elaunch.store import Store
from elaunch.testing import join_all, next_change, parameters
from elaunch.vitals import Pace, ToldFinding, Vitals


KEYS = Keys("job")
SETTINGS = JobSettings(min_nodes=1, max_nodes=2)


def pace(seconds: float, rank: int, *, ranks: int = 1, step: int | None = None) -> Pace:
    return Pace(
        ranks=ranks,
        fastest=seconds,
        median=seconds,
        slowest=seconds,
        slowest_rank=rank,
        step=step,
    )


def found(timestamp: float, host: str = "h") -> ToldFinding:
    return ToldFinding(
        host=host,
        rank=0,
        monitor="m",
        severity="info",
        reason=f"at {timestamp}",
        timestamp=timestamp,
    )


class TestPace:
    def test_nobody_has_no_pace(self) -> None:
        assert overall([]) is None

    def test_the_slowest_rank_of_all_nodes_is_named(self) -> None:
        told = overall([pace(1.0, 0, step=7), pace(9.0, 1, step=5), pace(2.0, 2)])

        assert told == Pace(
            ranks=3, fastest=1.0, median=2.0, slowest=9.0, slowest_rank=1, step=7
        )

    def test_each_rank_counts_once_in_the_median(self) -> None:
        told = overall([pace(1.0, 0), pace(2.0, 1), pace(5.0, 2, ranks=8)])

        assert told is not None
        assert told.median == 5.0

    def test_of_two_ranks_the_faster_is_the_usual_one(self) -> None:
        """So the slower one can be told to be slow."""
        told = overall([pace(1.0, 0), pace(5.0, 1)])

        assert told is not None
        assert told.median == 1.0


class TestJobVitals:
    def test_progress_never_goes_back(self) -> None:
        vitals = JobVitals(3.0)
        vitals.take("a", Vitals(generation=1, progress=5.0), 0.0)
        vitals.take("a", Vitals(generation=2, progress=1.0), 0.0)
        vitals.take("b", Vitals(generation=2), 0.0)
        vitals.drop("a")

        assert vitals.progress == 5.0

    def test_only_one_generation_is_told_of(self) -> None:
        vitals = JobVitals()
        old = Vitals(generation=1, pace=pace(1.0, 0), findings=(found(1.0),))
        new = Vitals(generation=2, pace=pace(2.0, 1), findings=(found(2.0),))
        vitals.take("a", old, 0.0)
        vitals.take("b", new, 0.0)

        assert vitals.pace(2) == pace(2.0, 1)
        assert vitals.findings(2) == (found(2.0),)

    def test_the_latest_findings_of_all_are_kept_in_order(self) -> None:
        vitals = JobVitals()
        for number in range(MAX_JOB_FINDINGS):
            findings = (found(number), found(number + 0.5))
            vitals.take(f"n{number}", Vitals(generation=1, findings=findings), 0.0)
        told = [finding.timestamp for finding in vitals.findings(1)]

        assert told == sorted(told)
        assert (len(told), told[-1]) == (MAX_JOB_FINDINGS, MAX_JOB_FINDINGS - 0.5)

    @pytest.mark.parametrize("number", [math.nan, math.inf])
    def test_what_is_no_number_is_not_told(self, number: float) -> None:
        """It would be told for ever, or could not be read by anybody."""
        told = Vitals(generation=1, progress=number, pace=pace(number, 0))
        fine = Vitals(generation=1, progress=1.0, pace=pace(1.0, 0))

        assert sound(told) == Vitals(generation=1)
        assert sound(fine) == fine


class TestRoster:
    def test_what_a_lost_node_told_is_known_to_the_next_coordinator(self) -> None:
        keyspace = Keyspace()
        keyspace.put(KEYS.vitals("lost"), encode(Vitals(generation=1, progress=4.0)))
        job = JobRecord(
            phase=JobPhase.SEALED,
            generation=1,
            settings=SETTINGS,
            token=1,
            progress=3.0,
        )
        roster = Roster(KEYS)
        roster.read(job, keyspace.list(KEYS.root), now=0.0)

        assert roster.vitals.progress == 4.0
        assert roster.stale_vitals() == ["lost"]

    def test_progress_outlives_that_all_is_read_anew(self) -> None:
        """Whoever told it may be gone, with what it told."""
        job = JobRecord(phase=JobPhase.SEALED, generation=1, settings=SETTINGS, token=1)
        roster = Roster(KEYS)
        key = KEYS.vitals("lost")
        roster.note_vitals(key, encode(Vitals(generation=1, progress=4.0)), 0.0)
        roster.note_vitals(key, None, 0.0)
        roster.read(job, Keyspace().list(KEYS.root), now=0.0)

        assert roster.vitals.progress == 4.0
        assert roster.stale_vitals() == []


@pytest_asyncio.fixture
async def nodes() -> AsyncIterator[list[StoreRendezvous]]:
    keyspace = Keyspace()

    async def open_store() -> Store:
        return MemoryStore(keyspace)

    options = RendezvousOptions(last_call_timeout=0)
    made = [
        StoreRendezvous(open_store, parameters(f"n{number}"), options)
        for number in range(2)
    ]
    yield made
    await asyncio.gather(*(node.aclose() for node in made))


@pytest.mark.asyncio
async def test_all_members_hear_the_pace_of_the_job(
    nodes: list[StoreRendezvous], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next generation has none before it is told."""
    monkeypatch.setattr(bulletins, "PACE_INTERVAL", 0.1)
    await join_all(nodes)
    for rank, node in enumerate(nodes):
        await node.tell(Vitals(generation=1, pace=pace(1.0 + rank, rank)))
    async with asyncio.timeout(60):
        for node in nodes:
            stay = node._stay
            while (told := node.job_pace()) is None:
                assert stay
                await stay.news().wait()
            assert told.slowest_rank == 1
    await nodes[0].restart("to forget it")
    for node in nodes:
        await next_change(node)
    await join_all(nodes)

    assert [node.job_pace() for node in nodes] == [None, None]


@pytest.mark.asyncio
async def test_in_a_large_job_a_node_waits_for_its_turn_to_tell(
    nodes: list[StoreRendezvous],
) -> None:
    await join_all(nodes)
    node = nodes[0]
    assert node._membership
    node._membership = attrs.evolve(node._membership, group_size=500_000)
    await node.tell(Vitals(generation=1))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await node.tell(Vitals(generation=1))


@pytest.mark.asyncio
async def test_how_nodes_go_makes_nobody_decide(
    nodes: list[StoreRendezvous], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told often; only the pace is told on, once in a while."""
    await join_all(nodes)
    planned = []

    def counted(*words: Any) -> Step:
        planned.append(words)
        return plan(*words)

    monkeypatch.setattr(coordinator, "plan", counted)
    for marker in range(100):
        await nodes[0].tell(Vitals(generation=1, progress=marker))
    async with asyncio.timeout(60):
        async with aclosing(nodes[0].changes()) as changes:
            await nodes[1].restart("to hear of something")
            await anext(changes)

    assert len(planned) < 20


@pytest.mark.asyncio
async def test_the_pace_is_told_only_of_a_generation_that_runs() -> None:
    keyspace = Keyspace()
    store = MemoryStore(keyspace)
    clock = [0.0]
    roster = Roster(KEYS)
    roster.vitals.take("a", Vitals(generation=1, pace=pace(1.0, 0)), 0.0)
    lease = await store.lease(60)
    told = Bulletins(store, KEYS, lease, roster, lambda: clock[0], lambda: 0.0)
    sealed = JobRecord(phase=JobPhase.SEALED, generation=1, settings=SETTINGS, token=1)
    forming = attrs.evolve(sealed, phase=JobPhase.FORMING, generation=2)

    changed = [told.vitals_changed(job) for job in (sealed, sealed)]
    due = told.due
    clock[0] = bulletins.PACE_INTERVAL
    await told.tell(forming)

    assert changed == [True, False]
    assert due == bulletins.PACE_INTERVAL
    assert told.due is None
    assert not told.vitals_changed(forming)
    assert keyspace.get(KEYS.pace) is None
