"""What each recorder does beyond the contract."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from elaunch.api import (
    Event,
    EventName,
    EventRecorderProvider,
    RecorderParameters,
    UsageError,
)
from elaunch_events_log import plugin
from elaunch_events_log.background import BackgroundRecorder
from elaunch_events_log.console import ConsoleRecorder
from elaunch_events_log.formats import as_text
from elaunch_events_log.jsonl import open_jsonl
from elaunch_events_log.loggers import open_logging
from elaunch_events_log.options import JsonlOptions, LoggingOptions


PARAMETERS = RecorderParameters("job", "a1b2")
EVENT = Event(
    name="worker.failed",
    run_id="job",
    metadata={"rank": 3, "message": "ValueError: no", "role": "x", "pids": [1, 2]},
    timestamp=1_700_000_000.25,
    host="node-1",
    agent="a1b2",
    sequence=7,
    generation=2,
)


def provider(name: str) -> EventRecorderProvider:
    registered = plugin.elaunch_register_event_recorders()
    return {known.name: known for known in registered}[name]


def numbered(number: int, padding: str = "") -> Event:
    return attrs.evolve(EVENT, sequence=number, metadata={"padding": padding})


def sequences(path: Path) -> list[int]:
    return [json.loads(line)["sequence"] for line in path.read_text().splitlines()]


def jsonl(path: Path, **options: object) -> BackgroundRecorder:
    return open_jsonl(JsonlOptions(path=str(path), **options), PARAMETERS)  # type: ignore[arg-type] # of any option


@pytest.mark.parametrize("name", ["null", "console", "logging", "torchelastic"])
def test_recorders_are_created_without_options(name: str) -> None:
    known = provider(name)
    recorder = known.create(RecorderParameters("job"), known.options_class()())
    recorder.close()


class TestConsole:
    def test_an_event_reads_as_one_line(self) -> None:
        (line,) = as_text(EVENT)

        assert line.endswith(
            ' agent worker.failed rank=3 message="ValueError: no" role=x pids=[1, 2]'
        )
        assert ":20.250" in line

    def test_it_goes_to_stderr(self, capsys: pytest.CaptureFixture[str]) -> None:
        ConsoleRecorder().record(EVENT)

        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.splitlines() == list(as_text(EVENT))

    def test_it_can_be_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        known = provider("console")
        recorder = known.create(PARAMETERS, known.options_class()(format="json"))  # type: ignore[call-arg] # of any class
        recorder.record(EVENT)

        assert json.loads(capsys.readouterr().err)["sequence"] == 7


class TestJsonl:
    def test_a_line_is_the_whole_event(self, tmp_path: Path) -> None:
        recorder = jsonl(tmp_path / "e.jsonl")
        recorder.record(EVENT)
        recorder.close()

        assert json.loads((tmp_path / "e.jsonl").read_text()) == {
            "schema": 1,
            "name": "worker.failed",
            "source": "AGENT",
            "timestamp": 1_700_000_000.25,
            "run_id": "job",
            "host": "node-1",
            "agent": "a1b2",
            "sequence": 7,
            "generation": 2,
            "metadata": dict(EVENT.metadata),
        }

    def test_what_the_file_held_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        path.write_text("before\n")

        recorder = jsonl(path)
        recorder.record(EVENT)
        recorder.close()

        assert path.read_text().splitlines()[0] == "before"

    def test_names_in_the_path_are_replaced_and_directories_are_made(
        self, tmp_path: Path
    ) -> None:
        path = f"{tmp_path}/logs/{{run_id}}/{{agent}}-{{pid}}.jsonl"
        options = JsonlOptions(path=path)

        provider("jsonl").create(RecorderParameters("a/b", "7f"), options).close()

        assert (tmp_path / "logs" / "a_b" / f"7f-{os.getpid()}.jsonl").exists()

    def test_a_name_that_there_is_not_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"no name '\{node\}'.*\{agent\}"):
            jsonl(tmp_path / "{node}.jsonl")

    def test_an_unwritable_path_is_a_usage_error(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"can't write events to .*irectory"):
            jsonl(tmp_path)

    def test_a_pipe_that_nobody_reads_is_a_usage_error(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")

        with pytest.raises(UsageError, match="can't write events to"):
            jsonl(tmp_path / "pipe")

    def test_a_file_in_the_way_of_a_directory_is_a_usage_error(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(UsageError, match=r"file/e\.jsonl"):
            jsonl(tmp_path / "file" / "e.jsonl")

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("path", ""),
            ("format", "xml"),
            ("max_bytes", -1),
            ("max_age", -1.0),
            ("backups", 0),
            ("flush", -1.0),
            ("queue", 0),
        ],
    )
    def test_options_that_make_no_sense_are_refused(
        self, option: str, value: object
    ) -> None:
        with pytest.raises(ValueError, match=option):
            JsonlOptions(**{option: value})  # type: ignore[arg-type] # of any option

    def test_no_thread_is_started_before_the_first_event(self, tmp_path: Path) -> None:
        recorder = jsonl(tmp_path / "e.jsonl")

        assert recorder._thread is None
        recorder.close()

    def test_several_agents_may_share_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        agents = [
            subprocess.Popen([sys.executable, "-c", AGENT, str(path), str(who)])
            for who in range(3)
        ]

        assert [agent.wait() for agent in agents] == [0, 0, 0]

        found = [json.loads(line)["metadata"] for line in path.read_text().splitlines()]
        for who in ("0", "1", "2"):
            numbers = [fact["number"] for fact in found if fact["who"] == who]
            assert numbers == list(range(500))


class TestRotation:
    def test_a_full_file_is_kept_under_a_number(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        recorder = jsonl(path, max_bytes=2000, backups=2)
        for number in range(40):
            recorder.record(numbered(number))
        recorder.close()

        names = sorted(each.name for each in tmp_path.iterdir())
        assert names == ["e.jsonl", "e.jsonl.1", "e.jsonl.2"]
        kept = [n for name in reversed(names) for n in sequences(tmp_path / name)]
        assert kept == list(range(kept[0], 40))
        assert all((tmp_path / name).stat().st_size <= 2000 for name in names)

    def test_a_rotation_costs_what_is_kept_and_not_what_may_be(
        self, tmp_path: Path
    ) -> None:
        recorder = jsonl(tmp_path / "e.jsonl", max_bytes=1, backups=10**12)
        for number in range(3):
            recorder.record(numbered(number))
        recorder.close()

        assert [sequences(p) for p in sorted(tmp_path.iterdir())] == [[2], [1], [0]]

    def test_who_removes_a_full_file_makes_room_for_those_before_it(
        self, tmp_path: Path
    ) -> None:
        recorder = jsonl(tmp_path / "e.jsonl", max_bytes=1, backups=3)
        for name in ("e.jsonl.1", "e.jsonl.3"):
            (tmp_path / name).write_text(name)
        for number in range(2):
            recorder.record(numbered(number))
        recorder.close()

        assert sequences(tmp_path / "e.jsonl.1") == [0]
        assert (tmp_path / "e.jsonl.2").read_text() == "e.jsonl.1"
        assert (tmp_path / "e.jsonl.3").read_text() == "e.jsonl.3"

    def test_an_event_that_is_larger_than_a_file_gets_one(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        recorder = jsonl(path, max_bytes=1000)
        for number in range(2):
            recorder.record(numbered(number, "x" * 5000))
        recorder.close()

        assert sequences(path) == [1]
        assert sequences(tmp_path / "e.jsonl.1") == [0]

    def test_an_old_file_is_full(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        recorder = jsonl(path, max_age=1e-9)
        for number in range(3):
            recorder.record(numbered(number))
        recorder.close()

        assert [sequences(p) for p in sorted(tmp_path.iterdir())] == [[2], [1], [0]]

    def test_a_file_that_is_rotated_belongs_to_one_agent(self, tmp_path: Path) -> None:
        recorder = jsonl(tmp_path / "e.jsonl", max_bytes=1000)

        with pytest.raises(UsageError, match=r"another agent.*'\{agent\}'"):
            jsonl(tmp_path / "e.jsonl")
        recorder.close()

    def test_a_file_that_is_shared_can_not_be_rotated(self, tmp_path: Path) -> None:
        recorder = jsonl(tmp_path / "e.jsonl")

        with pytest.raises(UsageError, match=r"another agent.*'\{agent\}'"):
            jsonl(tmp_path / "e.jsonl", max_age=60.0)
        recorder.close()

    def test_a_link_in_the_way_of_the_next_file_is_not_followed(
        self, tmp_path: Path
    ) -> None:
        precious = tmp_path / "precious"
        precious.touch()
        (tmp_path / "e.jsonl.next").symlink_to(precious)
        recorder = jsonl(tmp_path / "e.jsonl", max_bytes=1)
        for number in range(3):
            recorder.record(numbered(number))
        recorder.close()

        assert precious.read_text() == ""
        assert sequences(tmp_path / "e.jsonl") == [2]
        assert sequences(tmp_path / "e.jsonl.2") == [0]

    def test_where_no_other_file_can_be_begun_the_old_one_grows(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "e.jsonl"
        recorder = jsonl(path, max_bytes=1000)
        (tmp_path / "e.jsonl.next").mkdir()
        for number in range(10):
            recorder.record(numbered(number))
        recorder.close()

        assert sequences(path) == list(range(10))


class TestLogging:
    def test_a_record_has_the_whole_event(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO, "site.events"):
            recorder = open_logging(LoggingOptions(logger="site.events"), PARAMETERS)
            recorder.record(EVENT)
            recorder.close()

        (record,) = caplog.records
        assert [record.getMessage()] == list(as_text(EVENT))
        assert vars(record)["event"]["metadata"] == dict(EVENT.metadata)

    @pytest.mark.parametrize("level", ["chatty", ""])
    def test_an_unknown_level_is_refused(self, level: str) -> None:
        with pytest.raises(ValueError, match="level"):
            LoggingOptions(level=level)

    def test_a_handler_that_raises_ends_the_recorder_and_is_told(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken(logging.Handler):
            def handle(self, record: logging.LogRecord) -> bool:
                raise RuntimeError(record.msg)

        logger = logging.getLogger("broken.events")
        handler = Broken()
        logger.addHandler(handler)
        options = LoggingOptions(logger=logger.name, level="error")
        recorder = open_logging(options, PARAMETERS)
        recorder.record(EVENT)
        assert recorder._thread
        recorder._thread.join()
        logger.removeHandler(handler)

        with pytest.raises(RuntimeError, match=r"logger 'broken\.events' failed"):
            recorder.record(EVENT)
        recorder.close()
        assert "failed" in caplog.text


class TestTorchelastic:
    def test_its_events_go_to_its_destination(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        known = provider("torchelastic")
        recorder = known.create(PARAMETERS, known.options_class()())
        recorder.record(
            attrs.evolve(EVENT, name=EventName.WORKER_STARTED, metadata=TWIN)
        )
        recorder.record(Event(name="rendezvous.left", run_id="job", metadata={}))
        recorder.close()

        told = {r.name: json.loads(r.getMessage()) for r in caplog.records}
        assert told["torchelastic-events-null"] == {
            "name": "torchelastic.worker.status.START",
            "source": "AGENT",
            "timestamp": 1_700_000_000_250,
            "metadata": TWIN,
        }
        assert told["torchelastic-events-dynamic_rendezvous"]["run_id"] == "job"

    def test_an_unknown_destination_is_a_usage_error(self) -> None:
        known = provider("torchelastic")

        with pytest.raises(UsageError, match="no destination 'kafka'"):
            known.create(PARAMETERS, known.options_class()(destination="kafka"))  # type: ignore[call-arg] # of any class

    def test_a_file_can_have_its_format(self, tmp_path: Path) -> None:
        recorder = jsonl(tmp_path / "e", format="torchelastic")
        recorder.record(EVENT)
        recorder.record(
            attrs.evolve(EVENT, name=EventName.WORKER_STARTED, metadata=TWIN)
        )
        recorder.close()

        (line,) = (tmp_path / "e").read_text().splitlines()
        assert json.loads(line)["name"] == "torchelastic.worker.status.START"


TWIN = {
    "run_id": "job",
    "global_rank": 0,
    "group_rank": 0,
    "worker_id": "4",
    "role": "default",
    "hostname": "h",
    "state": "START",
    "total_run_time": 0,
    "rdzv_backend": "c10d",
    "raw_error": None,
    "metadata": "{}",
    "agent_restarts": 0,
    "duration_ms": None,
}

AGENT = """
import sys
from elaunch.api import Event, RecorderParameters
from elaunch_events_log.jsonl import open_jsonl
from elaunch_events_log.options import JsonlOptions

recorder = open_jsonl(JsonlOptions(path=sys.argv[1]), RecorderParameters("job"))
for number in range(500):
    facts = {"who": sys.argv[2], "number": number, "padding": "x" * 3000}
    recorder.record(Event(name="a.b", run_id="job", metadata=facts))
recorder.close()
"""
