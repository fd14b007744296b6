"""What the coordinator makes of what the store tells it."""

import math
from typing import Any

import attrs
import pytest

from elaunch.failures import ProcessFailure, Request
from elaunch.keyspace import Keyspace
from elaunch.membership.ranks import Candidate
from elaunch.membership.records import (
    Assignment,
    JobPhase,
    JobRecord,
    Keys,
    NodePhase,
    NodeRecord,
    encode,
)
from elaunch.membership.roster import Roster
from elaunch.policy import Decision, FailureReport, PastFailure, Verdict
from elaunch.rendezvous import JobSettings, Membership, NodeFacts
from elaunch.store import StoreEvent


KEYS = Keys("job")
SETTINGS = JobSettings(min_nodes=1, max_nodes=2)


def job(phase: JobPhase, generation: int) -> JobRecord:
    return JobRecord(phase=phase, generation=generation, settings=SETTINGS, token=1)


def said(phase: NodePhase, generation: int = 1, host: str = "h", **more: Any) -> bytes:
    return encode(
        NodeRecord(
            facts=NodeFacts(host=host, address=host),
            settings=SETTINGS,
            phase=phase,
            generation=generation,
            **more,
        )
    )


def assigned(
    generation: int, rank: int, previous_rank: int | None = None, token: int = 1
) -> bytes:
    place = Membership(
        generation=generation,
        group_rank=rank,
        group_size=2,
        base_rank=rank,
        world_size=2,
        base_role_rank=rank,
        role_world_size=2,
        restart_count=0,
        reason="",
    )
    return encode(
        Assignment(membership=place, host="h", token=token, previous_rank=previous_rank)
    )


@pytest.fixture
def keyspace() -> Keyspace:
    return Keyspace()


@pytest.fixture
def roster() -> Roster:
    return Roster(KEYS)


def read(roster: Roster, keyspace: Keyspace, record: JobRecord) -> None:
    roster.read(record, keyspace.list(KEYS.root), now=0.0)


class TestReading:
    def test_who_is_gone_meanwhile_is_gone(
        self, roster: Roster, keyspace: Keyspace
    ) -> None:
        """The events that would have told are lost when it is read anew."""
        forming = job(JobPhase.FORMING, 1)
        for node in ("a", "b"):
            keyspace.put(KEYS.node(node), said(NodePhase.READY, 0))
        read(roster, keyspace, forming)
        keyspace.delete(KEYS.node("b"))
        read(roster, keyspace, forming)

        assert roster.view(forming).nodes.keys() == {"a"}

    def test_what_was_assigned_and_not_sealed_makes_no_member(
        self, roster: Roster, keyspace: Keyspace
    ) -> None:
        forming = job(JobPhase.FORMING, 2)
        keyspace.put(KEYS.assignment("kept"), assigned(2, 1, previous_rank=0))
        keyspace.put(KEYS.assignment("new"), assigned(2, 0))
        keyspace.put(KEYS.assignment("left-out"), assigned(1, 1))
        read(roster, keyspace, forming)

        assert roster.view(forming).members == {"kept": 0, "left-out": 1}

    @pytest.mark.parametrize("phase", [JobPhase.SEALED, JobPhase.FORMING])
    def test_who_was_left_out_when_another_sealed_makes_no_member(
        self, roster: Roster, keyspace: Keyspace, phase: JobPhase
    ) -> None:
        """A coordinator died after it had assigned places that nobody sealed."""
        record = job(phase, 2 if phase is JobPhase.SEALED else 3)
        keyspace.put(KEYS.assignment("member"), assigned(2, 0, token=1))
        keyspace.put(KEYS.assignment("left-out"), assigned(2, 1, token=0))
        read(roster, keyspace, record)

        assert roster.view(record).members == {"member": 0}

    def test_who_was_done_before_is_still_done(
        self, roster: Roster, keyspace: Keyspace
    ) -> None:
        sealed = job(JobPhase.SEALED, 1)
        for node, generation in (("a", 1), ("b", 0)):
            keyspace.put(KEYS.assignment(node), assigned(1, 0))
            keyspace.put(KEYS.done(node), encode(generation))
        read(roster, keyspace, sealed)

        assert roster.view(sealed).done == {"a"}

    def test_failures_that_were_not_counted_are_no_history(
        self, roster: Roster, keyspace: Keyspace
    ) -> None:
        """Who wrote them did not live to count them, or has taken them back."""
        record = attrs.evolve(job(JobPhase.SEALED, 20), restarts=11)
        for number in range(12):
            keyspace.put(KEYS.past_failure(number), encode(past(number + 1)))
        read(roster, keyspace, record)

        assert roster.view(record).history == tuple(past(n + 1) for n in range(11))
        assert roster.recorded.keys() == set(range(12))


def past(generation: int) -> PastFailure:
    failure = ProcessFailure(
        rank=0,
        local_rank=0,
        role="r",
        host="h",
        pid=1,
        exitcode=1,
        timestamp=1.0,
        request=Request.EXCLUDE_NODE,
    )
    report = FailureReport(generation=generation, restarts=0, failures=(failure,))
    excludes = Decision(Verdict.EXCLUDE, "bad", 1.5, ("h",), 60.0)
    return PastFailure(report, excludes)


class TestFollowing:
    def tell(
        self, roster: Roster, record: JobRecord, node: str, value: bytes | None
    ) -> None:
        roster.apply(record, StoreEvent(KEYS.node(node), value, 9), now=1.0)

    def seal(self, roster: Roster, *nodes: str) -> None:
        facts = NodeFacts(host="h", address="h")
        roster.sealed(tuple(Candidate(node_id=n, facts=facts, joined=1) for n in nodes))

    def test_the_reason_of_a_goodbye_outlives_it(self, roster: Roster) -> None:
        sealed = job(JobPhase.SEALED, 1)
        self.seal(roster, "a")
        self.tell(roster, sealed, "a", said(NodePhase.LEAVING, reason="SIGTERM"))
        self.tell(roster, sealed, "a", None)

        assert roster.view(sealed).nodes == {}
        assert roster.view(sealed).why_left("a") == "SIGTERM"

    def test_workers_that_ended_for_a_preemption_are_remembered(
        self, roster: Roster
    ) -> None:
        """Also when their node is gone; a next generation has its own."""
        sealed = job(JobPhase.SEALED, 1)
        self.seal(roster, "a", "b")
        self.tell(roster, sealed, "a", said(NodePhase.PREEMPTED, preempted=True))
        self.tell(roster, sealed, "a", None)
        self.tell(roster, sealed, "b", said(NodePhase.READY, 0, preempted=True))
        self.tell(roster, sealed, "c", said(NodePhase.READY, preempted=True))
        before = roster.view(sealed).preempted
        self.seal(roster, "b")

        assert before == {"a"}
        assert roster.view(job(JobPhase.SEALED, 2)).preempted == set()

    def test_who_is_done_in_one_generation_is_not_in_the_next(
        self, roster: Roster
    ) -> None:
        sealed = job(JobPhase.SEALED, 1)
        self.seal(roster, "a", "b")
        self.tell(roster, sealed, "a", said(NodePhase.DONE))
        before = roster.view(sealed).done
        roster.forming(now=2.0)
        self.seal(roster, "a", "b")

        assert before == {"a"}
        assert roster.view(job(JobPhase.SEALED, 2)).done == frozenset()

    def test_who_said_that_it_had_stopped_explains_no_failure(
        self, roster: Roster
    ) -> None:
        """It was there when the others failed, and was lost only later."""
        forming = job(JobPhase.FORMING, 2)
        self.seal(roster, "a", "b", "c")
        self.tell(roster, forming, "a", said(NodePhase.READY))
        self.tell(roster, forming, "b", said(NodePhase.RUNNING))
        for node in ("a", "b"):
            self.tell(roster, forming, node, None)
        roster.excluded("c", now=1.0)

        assert roster.view(forming).causes() == ["b"]

    def test_a_failure_that_is_counted_is_history_until_it_is_taken_back(
        self, roster: Roster
    ) -> None:
        forming = job(JobPhase.FORMING, 3)
        roster.charged(past(1), now=1.0)
        roster.charged(past(2), now=4.0)
        counted = roster.view(forming)
        roster.refunded()
        refunded = roster.view(forming)

        assert counted.history == (past(1), past(2))
        assert (counted.charged, counted.delayed_since) == (True, 4.0)
        assert refunded.history == (past(1),)
        assert not refunded.charged

    def test_what_was_charged_before_another_generation_cant_be_taken_back(
        self, roster: Roster
    ) -> None:
        roster.charged(past(1), now=1.0)
        roster.forming(now=2.0)

        assert not roster.view(job(JobPhase.FORMING, 3)).charged

    def test_who_knows_no_earlier_growth_counts_from_its_beginning(
        self, roster: Roster, keyspace: Keyspace
    ) -> None:
        """And reading anew changes nothing of what it knows."""
        young, old = job(JobPhase.FORMING, 1), job(JobPhase.SEALED, 2)
        listing = keyspace.list(KEYS.root)
        roster.read(young, listing, now=3.0)
        never = roster.view(young).grown_since
        roster.read(old, listing, now=5.0)
        roster.read(old, listing, now=7.0)
        unknown = roster.view(old).grown_since
        roster.forming(now=9.0, grows=True)
        roster.forming(now=11.0)

        assert (never, unknown) == (-math.inf, 5.0)
        assert roster.view(old).grown_since == 9.0

    @pytest.mark.parametrize("stays", [("a~1", "a~2"), ("a~2", "a~1")])
    def test_of_an_agents_stays_the_last_one_counts(
        self, roster: Roster, stays: tuple[str, str]
    ) -> None:
        """Whichever is heard of first: a lease lives on when its holder gave it up."""
        forming = job(JobPhase.FORMING, 1)
        for stay in stays:
            self.tell(roster, forming, stay, said(NodePhase.READY, 0))

        assert roster.view(forming).nodes.keys() == {"a~2"}

    def test_the_last_call_begins_when_the_minimum_is_there_again(
        self, roster: Roster
    ) -> None:
        forming = job(JobPhase.FORMING, 1)
        for now, quorum in ((1.0, True), (2.0, True), (3.0, False), (4.0, True)):
            roster.note_quorum(now, quorum=quorum)
            first = roster.view(forming).quorum_since
            assert first == {1.0: 1.0, 2.0: 1.0, 3.0: None, 4.0: 4.0}[now]
