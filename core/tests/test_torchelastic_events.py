"""Events as torchelastic has them."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from elaunch import torchelastic_events as events
from elaunch.agent.recording import Recording
from elaunch.agent.twins import Twins
from elaunch.errors import UsageError
from elaunch.events import TORCHELASTIC_KEYS, Event, EventName
from elaunch.torchelastic_translation import Translation


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(params=["null", "dynamic_rendezvous"])
def destination(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kept(destination: str) -> Iterator[Lines]:
    handler = Lines()
    logger = events.get_logger(destination)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_an_event_survives_its_json() -> None:
    event = events.Event("test", events.EventSource.AGENT, 5, {"key": "value", "n": 1})

    assert json.loads(str(event)) == {
        "name": "test",
        "source": "AGENT",
        "timestamp": 5,
        "metadata": {"key": "value", "n": 1},
    }
    assert events.Event.deserialize(event.serialize()) == event
    assert events.Event.deserialize(event) is event


def test_an_event_of_a_rendezvous_survives_its_json() -> None:
    event = events.RdzvEvent(
        "n", "job", "said", "host", 4, events.NodeState.FAILED, rank=1
    )

    assert json.loads(str(event))["node_state"] == "FAILED"
    assert events.RdzvEvent.deserialize(event.serialize()) == event
    assert events.RdzvEvent.deserialize(event) is event


def test_an_event_is_recorded_once_as_json(destination: str, kept: Lines) -> None:
    root = Lines()
    logging.getLogger().addHandler(root)
    event = events.Event("test", events.EventSource.WORKER)

    events.record(event, destination)
    logging.getLogger().removeHandler(root)

    assert kept.lines == [event.serialize()]
    assert root.lines == []


def test_an_unknown_destination_is_told() -> None:
    with pytest.raises(UsageError, match=r"no destination 'consol'.*'console'"):
        events.record(events.Event("x", events.EventSource.AGENT), "consol")


class TestRendezvousEvents:
    @pytest.fixture
    def destination(self) -> str:
        return "dynamic_rendezvous"

    def test_who_called_names_the_event(self, kept: Lines) -> None:
        events.construct_and_record_rdzv_event(
            "job", "said", events.NodeState.RUNNING, rank=2, pid=9, hostname="h"
        )

        (line,) = kept.lines
        event = events.RdzvEvent.deserialize(line)
        assert event.name == (
            "test_torchelastic_events.py:test_who_called_names_the_event"
        )
        assert (event.rank, event.pid, event.hostname) == (2, 9, "h")
        assert event.error_trace == ""

    def test_a_failure_has_its_traceback(self, kept: Lines) -> None:
        try:
            int("boom")
        except ValueError:
            events.construct_and_record_rdzv_event(
                "job", "said", events.NodeState.FAILED, name="Class.method"
            )

        event = events.RdzvEvent.deserialize(kept.lines[0])
        assert event.name == "test_torchelastic_events.py:Class.method"
        assert "ValueError: invalid literal" in event.error_trace
        assert event.pid > 0
        assert event.hostname

    def test_where_nobody_keeps_them_none_is_made(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[events.RdzvEvent] = []
        monkeypatch.setattr(events, "record_rdzv_event", made.append)
        # pytest adds its own to loggers that tell no others.
        own = [events.get_logging_handler("dynamic_rendezvous")]
        monkeypatch.setattr(events.get_logger("dynamic_rendezvous"), "handlers", own)

        events.construct_and_record_rdzv_event("job", "x", events.NodeState.INIT)

        assert made == []


class Translated:
    """Translates what a recording tells."""

    def __init__(self) -> None:
        self.translation = Translation()
        self.statuses: list[events.Event] = []
        self.rendezvous: list[events.RdzvEvent] = []

    def record(self, event: Event) -> None:
        self.statuses += self.translation.statuses(event)
        if told := self.translation.rendezvous(event):
            self.rendezvous.append(told)

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def translated() -> Translated:
    return Translated()


@pytest.fixture
def record(translated: Translated) -> Recording:
    twins = Twins(run_id="job", host="h", role="r", backend="c10d", entry_point="t.py")
    return Recording("job", (translated,), "a", twins)


def join(record: Recording, generation: int) -> None:
    record(
        EventName.GENERATION_JOINED,
        generation=generation,
        group_rank=0,
        group_size=1,
        role_rank=0,
        role_world_size=2,
        restart_count=generation - 1,
        reason="",
        duration_ms=1.0,
    )
    record(EventName.BOOTSTRAP_READY, generation=generation)
    for rank in (0, 1):
        record(EventName.WORKER_STARTED, rank=rank, local_rank=rank, pid=10 + rank)


def ended(record: Recording, name: EventName, rank: int) -> None:
    record(name, rank=rank, local_rank=rank, pid=10 + rank, exitcode=1)


def test_a_run_with_a_restart_reads_as_torchelastic_records_it(
    record: Recording, translated: Translated
) -> None:
    record(EventName.AGENT_STARTED, pid=1)
    join(record, 1)
    ended(record, EventName.WORKER_FAILED, 1)
    ended(record, EventName.WORKER_TERMINATED, 0)
    join(record, 2)
    ended(record, EventName.WORKER_SUCCEEDED, 1)
    ended(record, EventName.WORKER_SUCCEEDED, 0)
    record(EventName.JOB_SUCCEEDED)
    record(EventName.AGENT_FINISHED, status=0, error="")

    names = [event.name.removeprefix(events.PREFIX) for event in translated.statuses]
    started = ["RENDEZVOUS", "ASSIGN_WORKER_RANKS", "START", "START"]
    assert names == [*started, *started, "SUCCEEDED", "SUCCEEDED", "SUCCEEDED"]
    sources = [event.source for event in translated.statuses[-3:]]
    assert sources == ["WORKER", "WORKER", "AGENT"]
    ranks = [event.metadata["global_rank"] for event in translated.statuses[-3:]]
    assert ranks == [0, 1, None]


def test_a_watchdog_is_told_of_under_its_own_names(
    record: Recording, translated: Translated
) -> None:
    facts = {"watchdog_event": "timer expired", "worker_pid": "4", "signal": "9"}
    record(EventName.STORE_NOTE, **facts)

    (event,) = translated.statuses
    assert event.name == "timer expired"
    assert event.source is events.EventSource.AGENT
    assert event.metadata["state"] == "RUNNING"
    assert json.loads(str(event.metadata["metadata"])) == facts


def test_its_metadata_are_torchelastics_and_no_more(
    record: Recording, translated: Translated
) -> None:
    join(record, 1)

    for event in translated.statuses:
        assert tuple(event.metadata) == TORCHELASTIC_KEYS
        assert event.timestamp > 1_600_000_000_000


def test_the_rendezvous_is_told_in_states_of_the_node(
    record: Recording, translated: Translated
) -> None:
    record(EventName.STORE_HOSTED, endpoint="h:1", rule="x")
    record(EventName.RENDEZVOUS_JOINING, address="h")
    join(record, 1)
    record(EventName.RENDEZVOUS_LOST, reason="the store is gone")
    record(EventName.RENDEZVOUS_LEFT, reason="done")

    told = [(e.name, e.node_state.value, e.rank) for e in translated.rendezvous]
    assert told == [
        ("rendezvous.joining", "INIT", None),
        ("generation.joined", "RUNNING", 0),
        ("rendezvous.lost", "FAILED", None),
        ("rendezvous.left", "SUCCEEDED", None),
    ]
    assert {e.master_endpoint for e in translated.rendezvous} == {"h:1"}
    assert translated.rendezvous[2].error_trace == "the store is gone"
    assert translated.rendezvous[0].message == "address=h"


def test_an_event_of_a_plugin_has_no_twin(translated: Translated) -> None:
    translated.record(Event(name="my.own", run_id="job", metadata={"state": "x"}))

    assert translated.statuses == []
    assert translated.rendezvous == []


@pytest.mark.parametrize(
    ("level", "told"),
    [(None, True), ("info", True), ("WARNING", False), ("loud", True)],
)
def test_the_level_of_a_destination_is_that_of_loglevel(
    level: str | None, *, told: bool
) -> None:
    code = (
        "from elaunch.torchelastic_events import *;"
        "record(Event('said', EventSource.AGENT), 'console')"
    )
    given = {k: v for k, v in os.environ.items() if k != "LOGLEVEL"}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**given, **({"LOGLEVEL": level} if level else {})},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    assert ('"said"' in ended.stderr) == told
