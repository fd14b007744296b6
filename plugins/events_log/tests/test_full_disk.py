"""A disk that is full, a sink that is slow, an agent that is killed."""

import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from elaunch.api import Event, RecorderParameters, Source
from elaunch_events_log import background
from elaunch_events_log.background import BackgroundRecorder
from elaunch_events_log.jsonl import open_jsonl
from elaunch_events_log.options import JsonlOptions


def numbered(number: int, padding: str = "") -> Event:
    facts = {"padding": padding}
    return Event(name="a.b", run_id="job", sequence=number, metadata=facts)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "RETRY", 0.01)


@pytest.fixture
def size_limit() -> Iterator[int]:
    """Let no file of this process grow over so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = 4000
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_once_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    params = RecorderParameters("job")
    recorder = open_jsonl(JsonlOptions(path="/dev/full"), params)
    with caplog.at_level(logging.WARNING):
        for number in range(100):
            recorder.record(numbered(number))
        recorder.close()

    told = [record.getMessage() for record in caplog.records]
    first = "can't write events to '/dev/full': No space left on device; the job goes"
    last = "'/dev/full' lacks the last events: No space left on device"
    assert len([line for line in told if line.startswith(first)]) <= 1
    assert told[-1] == last


def test_events_are_written_when_there_is_room_again(
    tmp_path: Path, size_limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "e.jsonl"
    recorder = open_jsonl(JsonlOptions(path=str(path)), RecorderParameters("job"))
    failed, again = Waited("can't write events"), Waited("are written to")
    background.logger.addHandler(failed)
    background.logger.addHandler(again)
    with caplog.at_level(logging.WARNING):
        for number in range(50):
            recorder.record(numbered(number, "x" * 100))
        failed.wait()
        assert path.stat().st_size == size_limit
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        again.wait()
        recorder.record(numbered(50))
        recorder.close()
    background.logger.removeHandler(failed)
    background.logger.removeHandler(again)

    whole, torn = [], []
    for line in path.read_text().splitlines():
        try:
            whole.append(json.loads(line)["sequence"])
        except ValueError:
            torn.append(line)
    assert whole == list(range(51))
    assert len(torn) <= 1  # none where the limit happened to fall between two lines
    assert len([r for r in caplog.records if "can't write" in r.message]) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; who may not mount one has none."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ("-t", "tmpfs", "-o", "size=256k", "none", str(disk))
    mount = shutil.which("mount")
    mounted = mount and subprocess.run(
        [mount, *options], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no file system may be mounted here")
    yield disk
    subprocess.run([str(shutil.which("umount")), str(disk)], check=True)


def test_a_disk_that_gets_room_again_has_all_events(small_disk: Path) -> None:
    other, path = small_disk / "other", small_disk / "e.jsonl"
    recorder = open_jsonl(JsonlOptions(path=str(path)), RecorderParameters("job"))
    other.write_bytes(b"x" * 200 * 1024)
    failed, again = Waited("can't write events"), Waited("are written to")
    background.logger.addHandler(failed)
    background.logger.addHandler(again)
    for number in range(300):
        recorder.record(numbered(number, "x" * 100))
    failed.wait()
    other.unlink()
    again.wait()
    recorder.close()
    background.logger.removeHandler(failed)
    background.logger.removeHandler(again)

    whole = [json.loads(line)["sequence"] for line in events_in(path)]
    assert whole == list(range(300))


def events_in(path: Path) -> list[str]:
    """Return the whole lines of a file; what was cut off begins no other."""
    lines = path.read_text().splitlines()
    return [line for line in lines if line.endswith("}")]


class Waited(logging.Handler):
    """Waits for a message."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.came.set()

    def wait(self) -> None:
        assert self.came.wait(120)


@attrs.define(eq=False)
class Gate:
    """A sink that stands still until it is let through."""

    name: str = "the gate"
    entered: threading.Event = attrs.field(factory=threading.Event)
    open: threading.Event = attrs.field(factory=threading.Event)
    flushed: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(0))
    events: list[Event] = attrs.field(factory=list)
    _put: deque[Event] = attrs.field(factory=deque)

    def put(self, event: Event) -> None:
        self._put.append(event)

    def flush(self) -> None:
        self.entered.set()
        assert self.open.wait(120)
        self.events += self._put
        self._put.clear()
        self.flushed.release()

    def close(self) -> None:
        """Nothing is held."""

    @property
    def written(self) -> int:
        return len(self.events)


@attrs.define(eq=False)
class Slow(Gate):
    """A sink that writes one event whenever somebody looks how many it has."""

    total: int = 5
    looked: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(0))

    def flush(self) -> None:
        while self._put:
            assert self.looked.acquire(timeout=120)
            self.events.append(self._put.popleft())
            self.flushed.release()

    @property
    def written(self) -> int:
        if len(self.events) < self.total:
            self.looked.release()
            assert self.flushed.acquire(timeout=120)
        return len(self.events)


def test_what_does_not_fit_is_told_of_in_its_place() -> None:
    gate = Gate()
    recorder = BackgroundRecorder(gate, limit=3)
    recorder.record(numbered(0))
    assert gate.entered.wait(120)
    for number in range(1, 11):
        worker = attrs.evolve(numbered(number), source=Source.WORKER)
        recorder.record(worker)  # returns, though nothing is written
    gate.open.set()
    recorder.close()

    told = [(event.name, event.sequence) for event in gate.events]
    kept = [("a.b", number) for number in range(4)]
    assert told == [*kept, ("events.lost", 10)]
    lost = gate.events[-1]
    assert lost.metadata == {"count": 7, "first": 4, "last": 10}
    assert lost.source is Source.AGENT  # whatever those were about
    assert (lost.run_id, lost.agent, lost.host) == ("job", "", gate.events[0].host)


def test_after_a_gap_events_are_kept_again() -> None:
    gate = Gate()
    recorder = BackgroundRecorder(gate, limit=1)
    recorder.record(numbered(0))
    assert gate.entered.wait(120)
    recorder.record(numbered(1))
    recorder.record(numbered(2))
    gate.open.set()
    for _ in range(2):
        assert gate.flushed.acquire(timeout=120)
    recorder.record(numbered(3))
    recorder.close()

    names = [event.name for event in gate.events]
    assert names == ["a.b", "a.b", "events.lost", "a.b"]


def test_an_end_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "CLOSE_PATIENCE", 0.01)
    gate = Gate()
    recorder = BackgroundRecorder(gate, limit=3)
    recorder.record(numbered(0))
    recorder.close()

    assert "the gate did not take the last events within" in caplog.text
    gate.open.set()


@pytest.mark.parametrize(("limit", "all_kept"), [(600.0, True), (0.0, False)])
def test_an_end_waits_for_events_that_are_written_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    limit: float,
    *,
    all_kept: bool,
) -> None:
    monkeypatch.setattr(background, "CLOSE_PATIENCE", 0.01)
    monkeypatch.setattr(background, "CLOSE_LIMIT", limit)
    slow = Slow()
    recorder = BackgroundRecorder(slow, limit=slow.total)
    for number in range(slow.total):
        recorder.record(numbered(number))
    recorder.close()

    assert ("did not take the last events" not in caplog.text) == all_kept
    assert (len(slow.events) == slow.total) == all_kept
    slow.looked.release(slow.total)


ENDS = """
import os, sys
from elaunch.api import Event, RecorderParameters
from elaunch_events_log.jsonl import open_jsonl
from elaunch_events_log.options import JsonlOptions

options = JsonlOptions(path=sys.argv[1], flush=60.0)
recorder = open_jsonl(options, RecorderParameters("job"))
for number in range(3):
    recorder.record(Event(name="a.b", run_id="job", sequence=number))
with recorder._changed:  # as the writer may have it at any moment
    if os.fork() == 0:
        sys.exit()
    os.wait()
"""


def test_an_interpreter_that_ends_has_written_all_it_recorded(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    subprocess.run([sys.executable, "-c", ENDS, str(path)], check=True, timeout=120)

    assert [json.loads(line)["sequence"] for line in events_in(path)] == [0, 1, 2]


WORKER = """
import os, sys, time
open(sys.argv[1], "w").close()
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("signum", "last"), [(signal.SIGTERM, "agent.finished"), (signal.SIGKILL, "")]
)
def test_an_agent_that_is_killed_has_written_all_it_recorded(
    tmp_path: Path, signum: int, last: str
) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    started, written = tmp_path / "started", tmp_path / "e.jsonl"
    os.mkfifo(started)
    recorder = f"jsonl:path={written}"
    agent = subprocess.Popen(
        [
            *(sys.executable, "-m", "elaunch", "run", "--standalone"),
            *("--event-recorder", recorder, "worker.py", "started"),
        ],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    with started.open():  # until the worker opens it, too
        pass
    if signum == signal.SIGKILL:
        wait_for(written, "group.started")
    agent.send_signal(signum)
    agent.wait(120)

    events = [json.loads(line) for line in written.read_text().splitlines()]
    assert [event["sequence"] for event in events] == list(range(len(events)))
    assert events[-1]["name"] == (last or "group.started")


def wait_for(path: Path, name: str) -> None:
    """Wait until an event is in a file; the test's own time limit ends that."""
    while f'"{name}"' not in path.read_text():
        os.sched_yield()
