"""The coordinator's fence: what an older one has in flight comes to nothing."""

import asyncio
from collections.abc import Awaitable, Callable

import attrs
import pytest
import pytest_asyncio

from elaunch.events import EventName, discard
from elaunch.failures import ProcessFailure
from elaunch.keyspace import Keyspace
from elaunch.membership.coordinator import Coordinator
from elaunch.membership.mandate import Mandate, SteppedDownError
from elaunch.membership.records import (
    Assignment,
    Holder,
    JobPhase,
    JobRecord,
    Keys,
    decode,
    encode,
)
from elaunch.membership.steps import Close, Exclude, Form, Timing
from elaunch.memory_store import MemoryStore
from elaunch.policy import Decision, FailureReport, PastFailure, Verdict
from elaunch.rendezvous import JobSettings, Membership, Outcome, OutcomeState
from elaunch.restart_budget import BudgetPolicy
from elaunch.store import Entry, Listing


KEYS = Keys("job")
SETTINGS = JobSettings(min_nodes=1, max_nodes=2)
FIRST = JobRecord(phase=JobPhase.FORMING, generation=1, settings=SETTINGS, token=0)


async def coordinator(
    keyspace: Keyspace, number: int, *, over: bool = False
) -> Coordinator:
    """Return who has just won the office from whoever had it."""
    store = MemoryStore(keyspace)
    node_id = f"node-{number}"
    return Coordinator(
        mandate=Mandate(
            store=store,
            keys=KEYS,
            token=keyspace.put(KEYS.coordinator, encode(Holder(node_id))),
        ),
        lease=await store.lease(60),
        settings=SETTINGS,
        policy=BudgetPolicy(0),
        node_id=node_id,
        over=over,
        timing=Timing(),
        close_timeout=1,
        clock=lambda: 0.0,
        record=discard,
    )


def assignment(token: int) -> Assignment:
    place = Membership(
        generation=1,
        group_rank=0,
        group_size=1,
        base_rank=0,
        world_size=1,
        base_role_rank=0,
        role_world_size=1,
        restart_count=0,
        reason="",
    )
    return Assignment(membership=place, host="h", token=token)


def assigned(keyspace: Keyspace) -> int:
    entry = keyspace.get(KEYS.assignment("n"))
    assert entry is not None
    return decode(Assignment, entry.key, entry.value).token


@pytest_asyncio.fixture
async def keyspace() -> Keyspace:
    return Keyspace()


async def in_office(keyspace: Keyspace, number: int) -> Coordinator:
    new = await coordinator(keyspace, number)
    assert await new.mandate.claim(FIRST)
    await new._read()
    return new


@pytest.mark.asyncio
async def test_who_has_lost_the_office_claims_nothing(keyspace: Keyspace) -> None:
    """It won the office, stood still, and wakes up when another one decides."""
    older = await coordinator(keyspace, 1)
    newer = await in_office(keyspace, 2)

    with pytest.raises(SteppedDownError):
        await older.mandate.claim(FIRST)
    await newer._perform(Form("a node joined", 0))
    assert newer.mandate.job.generation == 2


@pytest.mark.asyncio
async def test_an_older_one_cant_change_the_state(keyspace: Keyspace) -> None:
    older = await in_office(keyspace, 1)
    await in_office(keyspace, 2)

    with pytest.raises(SteppedDownError):
        await older._perform(Form("too late", 0))


@pytest.mark.asyncio
async def test_an_older_one_cant_overrule_an_assignment(keyspace: Keyspace) -> None:
    older = await in_office(keyspace, 1)
    newer = await in_office(keyspace, 2)
    await newer._assign("n", assignment(2))

    with pytest.raises(SteppedDownError):
        await older._assign("n", assignment(1))
    assert assigned(keyspace) == 2


@attrs.define(eq=False)
class Interrupted(MemoryStore):
    """Lets something happen just before a key is read."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def get(self, key: str) -> Entry | None:
        meanwhile = self.meanwhile
        if meanwhile and key == KEYS.assignment("n"):
            self.meanwhile = None
            await meanwhile()
        return await MemoryStore.get(self, key)


@pytest.mark.asyncio
async def test_an_older_one_that_reads_an_assignment_of_a_newer_one_leaves_it(
    keyspace: Keyspace,
) -> None:
    """Also if it was still in office a moment before."""
    older = await in_office(keyspace, 1)
    keyspace.put(KEYS.assignment("n"), encode(assignment(0)))

    async def take_over() -> None:
        await (await in_office(keyspace, 2))._assign("n", assignment(2))

    older.mandate.store = Interrupted(keyspace, take_over)
    with pytest.raises(SteppedDownError):
        await older._assign("n", assignment(1))
    assert assigned(keyspace) == 2


@pytest.mark.asyncio
async def test_a_newer_one_overrules_what_was_in_flight(keyspace: Keyspace) -> None:
    older = await in_office(keyspace, 1)
    newer = await in_office(keyspace, 2)
    await older._assign("n", assignment(1))
    await newer._assign("n", assignment(2))

    assert assigned(keyspace) == 2


@pytest.mark.asyncio
async def test_an_older_one_excludes_nobody(keyspace: Keyspace) -> None:
    older = await in_office(keyspace, 1)
    await in_office(keyspace, 2)
    keyspace.put(KEYS.node("n"), b"alive")

    with pytest.raises(SteppedDownError):
        await older._perform(Exclude(("n",)))
    assert keyspace.get(KEYS.node("n")) is not None


@pytest.mark.asyncio
async def test_a_users_close_overtakes_whoever_is_in_office(keyspace: Keyspace) -> None:
    present = await in_office(keyspace, 1)
    entry = keyspace.get(KEYS.state)
    assert entry is not None
    job = decode(JobRecord, entry.key, entry.value)
    closed = attrs.evolve(job, phase=JobPhase.CLOSED, reason="enough")
    keyspace.put(KEYS.state, encode(closed))
    await present._perform(Form("a node joined", 0))

    assert present.mandate.job == closed


@pytest.mark.asyncio
async def test_a_job_that_is_over_and_cleaned_up_is_not_begun_anew(
    keyspace: Keyspace,
) -> None:
    """Whoever stood by gets the office when the last coordinator has left."""
    late = await coordinator(keyspace, 1, over=True)

    assert await late.serve()
    assert keyspace.get(KEYS.state) is None


def past() -> PastFailure:
    failure = ProcessFailure(
        rank=0,
        local_rank=0,
        role="r",
        host="h",
        pid=1,
        exitcode=1,
        timestamp=1.0,
        traceback="Traceback ...",
    )
    report = FailureReport(generation=1, restarts=0, failures=(failure,))
    return PastFailure(report, Decision(Verdict.RESTART, "again"))


@pytest.mark.asyncio
async def test_a_failure_is_written_down_before_it_counts(keyspace: Keyspace) -> None:
    """So whoever decides next knows all that was counted, without what is long."""
    order: list[str] = []
    keyspace.subscribe(KEYS.root, keyspace.revision, lambda e: order.append(e.key))
    present = await in_office(keyspace, 1)
    order.clear()
    await present._perform(Form("failed", 1, past()))
    entry = keyspace.get(KEYS.past_failure(0))

    assert order == [KEYS.past_failure(0), KEYS.state]
    assert entry is not None
    kept = decode(PastFailure, entry.key, entry.value)
    assert kept == attrs.evolve(past(), report=past().report.trimmed())
    assert present._roster.history == [kept]


@pytest.mark.asyncio
async def test_an_older_one_writes_no_history(keyspace: Keyspace) -> None:
    older = await in_office(keyspace, 1)
    newer = await in_office(keyspace, 2)
    await newer._perform(Form("failed", 1, past()))
    other = attrs.evolve(past(), decision=Decision(Verdict.RESTART, "too late"))

    with pytest.raises(SteppedDownError):
        await older._perform(Form("failed", 1, other))
    entry = keyspace.get(KEYS.past_failure(0))
    assert entry is not None
    assert decode(PastFailure, entry.key, entry.value).decision.reason == "again"


@pytest.mark.asyncio
async def test_a_newer_one_overrules_a_failure_that_was_not_counted(
    keyspace: Keyspace,
) -> None:
    older = await in_office(keyspace, 1)
    await older._record_failure(past())
    newer = await in_office(keyspace, 2)
    mine = attrs.evolve(past(), decision=Decision(Verdict.RESTART, "mine"))
    await newer._perform(Form("failed", 1, mine))
    next_one = await in_office(keyspace, 3)

    assert [p.decision.reason for p in next_one._roster.history] == ["mine"]


@pytest.mark.asyncio
async def test_decisions_are_told_when_they_count(keyspace: Keyspace) -> None:
    told: list[dict[str, object]] = []

    def record(name: EventName, /, **facts: object) -> None:
        if name is EventName.POLICY_DECIDED:
            told.append(facts)

    older = await in_office(keyspace, 1)
    older.record = record
    await older._perform(Form("failed", 1, past()))
    await in_office(keyspace, 2)
    with pytest.raises(SteppedDownError):
        await older._perform(Form("failed", 2, past()))

    assert [(fact["verdict"], fact["history"]) for fact in told] == [("restart", [])]


@pytest.mark.asyncio
async def test_what_ends_a_job_is_told_with_what_came_before(
    keyspace: Keyspace,
) -> None:
    told: list[dict[str, object]] = []

    def record(name: EventName, /, **facts: object) -> None:
        if name is EventName.POLICY_DECIDED:
            told.append(facts)

    present = await in_office(keyspace, 1)
    present.record = record
    await present._perform(Form("failed", 1, past()))
    outcome = Outcome(state=OutcomeState.HANDED_BACK, reason="enough")
    ends = attrs.evolve(past(), decision=Decision(Verdict.HAND_BACK, "enough"))
    await present._perform(Close(outcome, ends))

    assert [(f["verdict"], f["history"]) for f in told] == [
        ("restart", []),
        ("hand back", [1]),
    ]
    assert present.mandate.job.outcome == outcome


@pytest.mark.asyncio
async def test_a_close_between_the_claim_and_the_first_look_is_seen(
    keyspace: Keyspace,
) -> None:
    """The watch begins after it, and never tells of it."""

    class ClosedMeanwhile(MemoryStore):
        async def list(self, prefix: str) -> Listing:
            reason = "its user has ended it"
            outcome = Outcome(state=OutcomeState.FAILED, reason=reason)
            closed = attrs.evolve(
                FIRST, phase=JobPhase.CLOSED, reason=reason, outcome=outcome
            )
            keyspace.put(KEYS.state, encode(closed))
            return await super().list(prefix)

    present = await coordinator(keyspace, 1)
    present.mandate.store = ClosedMeanwhile(keyspace)
    async with asyncio.timeout(60):
        await present.run()

    assert present.mandate.job.phase is JobPhase.CLOSED
