"""What a recording adds to what happens, and that recorders are apart."""

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import pytest

from elaunch.agent.recording import Recording, new_agent_id
from elaunch.agent.twins import Twins
from elaunch.events import TORCHELASTIC_KEYS, Event, EventName, Source, Value


TWINS = {
    "run_id": "job",
    "host": "node-1",
    "role": "trainer",
    "backend": "c10d",
    "entry_point": "train.py",
}
JOINED: dict[str, Value] = {
    "generation": 3,
    "group_rank": 1,
    "group_size": 2,
    "world_size": 4,
    "ranks": [2, 3],
    "role_rank": 2,
    "role_world_size": 4,
    "restart_count": 1,
    "reason": "",
    "duration_ms": 12.5,
}


@attrs.define(eq=False)
class Kept:
    events: list[Event] = attrs.field(factory=list)
    closed: bool = False

    def record(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.closed = True


class Broken(Kept):
    def record(self, event: Event) -> None:
        super().record(event)
        raise OSError("no more")

    def close(self) -> None:
        raise OSError("no more")


def recording(*recorders: Kept) -> Recording:
    return Recording("job", recorders, "a1", Twins(**TWINS))


def test_events_of_an_agent_are_numbered_without_a_gap() -> None:
    kept = Kept()
    record = recording(kept)
    for _ in range(3):
        record(EventName.STORE_NOTE, reason="x")

    assert [event.sequence for event in kept.events] == [0, 1, 2]
    assert {event.agent for event in kept.events} == {"a1"}


def test_two_agents_have_two_ids() -> None:
    assert new_agent_id() != new_agent_id()


def test_threads_that_record_at_once_are_told_in_the_order_of_the_numbers() -> None:
    kept = Kept()
    record = recording(kept)
    start = threading.Barrier(4)

    def many() -> None:
        start.wait()
        for _ in range(200):
            record(EventName.STORE_NOTE, reason="x")

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [event.sequence for event in kept.events] == list(range(800))


def test_an_event_knows_the_last_generation_of_its_agent() -> None:
    kept = Kept()
    record = recording(kept)
    record(EventName.AGENT_STARTED, pid=1)
    record(EventName.GENERATION_JOINED, **JOINED)
    record(EventName.GROUP_STOPPED, reason="x")

    assert [event.generation for event in kept.events] == [0, 3, 3]


@attrs.define(eq=False, kw_only=True)
class CountedTwins(Twins):
    asked: int = attrs.field(default=0, init=False)

    def added(self, *args: Any) -> Mapping[str, Value]:
        self.asked += 1
        return super().added(*args)


@pytest.mark.parametrize(("recorders", "asked"), [((), 0), ((Broken(),), 1)])
def test_where_nobody_is_told_nothing_is_made(
    recorders: tuple[Kept, ...], asked: int
) -> None:
    twins = CountedTwins(**TWINS)
    record = Recording("job", recorders, "a1", twins)
    for _ in range(3):
        record(EventName.GENERATION_JOINED, **JOINED)

    assert twins.asked == asked


def test_a_recorder_that_raises_is_told_no_more_and_the_others_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken, kept = Broken(), Kept()
    record = recording(broken, kept)
    with caplog.at_level(logging.ERROR):
        record(EventName.JOB_SUCCEEDED)
        record(EventName.JOB_SUCCEEDED)
        record.close()

    assert len(broken.events) == 1
    assert len(kept.events) == 2
    assert kept.closed
    assert "failed and is disabled" in caplog.text
    assert "failed to close" in caplog.text


class TestTwins:
    @pytest.fixture
    def kept(self) -> Kept:
        return Kept()

    @pytest.fixture
    def record(self, kept: Kept) -> Iterator[Recording]:
        record = recording(kept)
        record(EventName.GENERATION_JOINED, **JOINED)
        yield record
        record.close()

    def test_a_worker_that_failed_has_all_that_torchelastic_tells(
        self, kept: Kept, record: Recording
    ) -> None:
        record(
            EventName.WORKER_FAILED,
            rank=3,
            local_rank=1,
            pid=77,
            exitcode=1,
            message="ValueError: x",
            raw_error='{"message": "x"}',
        )
        facts = kept.events[-1].metadata

        assert {k: facts[k] for k in TORCHELASTIC_KEYS if k != "metadata"} == {
            "run_id": "job",
            "global_rank": 3,
            "group_rank": 1,
            "worker_id": "77",
            "role": "trainer",
            "hostname": "node-1",
            "state": "FAILED",
            "total_run_time": 0,
            "rdzv_backend": "c10d",
            "raw_error": '{"message": "x"}',
            "agent_restarts": 1,
            "duration_ms": None,
        }
        assert json.loads(str(facts["metadata"])) == {
            "group_world_size": 2,
            "entry_point": "train.py",
            "local_rank": [1],
            "role_rank": [3],
            "role_world_size": [4],
            "exit_code": [1],
            "worker_pid": [77],
        }
        assert kept.events[-1].source is Source.WORKER

    def test_people_are_not_told_twice(self, kept: Kept, record: Recording) -> None:
        record(EventName.WORKER_STARTED, generation=3, rank=2, local_rank=0, pid=7)

        joined, started = kept.events
        assert joined.facts == JOINED
        assert started.facts == {
            "generation": 3,
            "rank": 2,
            "local_rank": 0,
            "pid": 7,
            "group_rank": 1,
        }

    def test_joining_and_the_ranks_have_their_durations(
        self, kept: Kept, record: Recording
    ) -> None:
        record(EventName.BOOTSTRAP_READY, generation=3)

        joined, ready = (event.metadata for event in kept.events)
        assert (joined["state"], joined["duration_ms"]) == ("RENDEZVOUS", 12.5)
        assert ready["state"] == "ASSIGN_WORKER_RANKS"
        assert isinstance(ready["duration_ms"], float)
        assert ready["global_rank"] is None

    @pytest.mark.parametrize("end", [EventName.JOB_SUCCEEDED, EventName.JOB_FAILED])
    def test_an_agent_whose_job_has_an_outcome_has_succeeded(
        self, kept: Kept, record: Recording, end: EventName
    ) -> None:
        record(end)
        record(EventName.AGENT_FINISHED, status=1, error="rank 3 failed")

        assert kept.events[-1].metadata["state"] == "SUCCEEDED"
        assert kept.events[-1].metadata["raw_error"] is None

    def test_an_agent_that_ends_well_before_the_job_has_succeeded(
        self, kept: Kept, record: Recording
    ) -> None:
        record(EventName.AGENT_FINISHED, status=0, error="")

        assert kept.events[-1].metadata["state"] == "SUCCEEDED"

    def test_an_agent_that_could_not_run_it_has_failed(
        self, kept: Kept, record: Recording
    ) -> None:
        record(EventName.AGENT_FINISHED, status=143, error="got SIGTERM")

        assert kept.events[-1].metadata["state"] == "FAILED"
        assert kept.events[-1].metadata["raw_error"] == "got SIGTERM"

    def test_what_torchelastic_does_not_know_has_none_of_its_keys(
        self, kept: Kept, record: Recording
    ) -> None:
        record(EventName.GROUP_STOPPED, reason="x")

        assert kept.events[-1].metadata == {"reason": "x"}
