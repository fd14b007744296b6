"""What each recorder does beyond the contract."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from elaunch.api import Event, EventRecorderProvider, RecorderParameters, UsageError
from elaunch_events_log import plugin
from elaunch_events_log.console import ConsoleRecorder, render
from elaunch_events_log.jsonl import open_jsonl


EVENT = Event(
    name="worker.failed",
    run_id="job",
    metadata={"rank": 3, "message": "ValueError: no", "role": "x", "pids": [1, 2]},
    timestamp=1_700_000_000.25,
    host="node-1",
)


def provider(name: str) -> EventRecorderProvider:
    registered = plugin.elaunch_register_event_recorders()
    return {known.name: known for known in registered}[name]


@pytest.mark.parametrize("name", ["null", "console"])
def test_recorders_without_options_are_created(name: str) -> None:
    known = provider(name)
    recorder = known.create(RecorderParameters("job"), known.options())
    recorder.close()


class TestConsole:
    def test_an_event_reads_as_one_line(self) -> None:
        line = render(EVENT)

        assert line.endswith(
            ' agent worker.failed rank=3 message="ValueError: no" role=x pids=[1, 2]'
        )
        assert ":20.250" in line

    def test_it_goes_to_stderr(self, capsys: pytest.CaptureFixture[str]) -> None:
        ConsoleRecorder().record(EVENT)

        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err == f"{render(EVENT)}\n"


class TestJsonl:
    def test_a_line_is_the_whole_event(self, tmp_path: Path) -> None:
        recorder = open_jsonl(str(tmp_path / "e.jsonl"), "job")
        recorder.record(EVENT)

        line = (tmp_path / "e.jsonl").read_text()
        recorder.close()
        assert json.loads(line) == {
            "schema": 1,
            "name": "worker.failed",
            "source": "AGENT",
            "timestamp": 1_700_000_000.25,
            "run_id": "job",
            "host": "node-1",
            "metadata": dict(EVENT.metadata),
        }

    def test_what_the_file_held_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "e.jsonl"
        path.write_text("before\n")

        recorder = open_jsonl(str(path), "job")
        recorder.record(EVENT)
        recorder.close()

        assert path.read_text().splitlines()[0] == "before"

    def test_the_run_id_names_the_file_and_directories_are_made(
        self, tmp_path: Path
    ) -> None:
        options = plugin.JsonlOptions(path=f"{tmp_path}/logs/{{run_id}}/e.jsonl")

        provider("jsonl").create(RecorderParameters("a/b"), options).close()

        assert (tmp_path / "logs" / "a_b" / "e.jsonl").exists()

    def test_an_unwritable_path_is_a_usage_error(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"can't write events to .*irectory"):
            open_jsonl(str(tmp_path), "job")

    def test_a_file_in_the_way_of_a_directory_is_a_usage_error(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(UsageError, match=r"file/e\.jsonl"):
            open_jsonl(str(tmp_path / "file" / "e.jsonl"), "job")

    def test_an_empty_path_is_refused(self) -> None:
        with pytest.raises(ValueError, match="path"):
            plugin.JsonlOptions(path="")

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


AGENT = """
import sys
from elaunch.api import Event
from elaunch_events_log.jsonl import open_jsonl

recorder = open_jsonl(sys.argv[1], "job")
for number in range(500):
    facts = {"who": sys.argv[2], "number": number, "padding": "x" * 3000}
    recorder.record(Event(name="a.b", run_id="job", metadata=facts))
recorder.close()
"""
