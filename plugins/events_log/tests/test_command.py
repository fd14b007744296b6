"""``elaunch events``, as users type it."""

import contextlib
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from elaunch.api import Event, RecorderParameters, UsageError
from elaunch.cli import main
from elaunch.testing import CommandContract
from elaunch_events_log.jsonl import open_jsonl
from elaunch_events_log.options import JsonlOptions
from elaunch_events_log.reading import follow as follow_module
from elaunch_events_log.reading import sources
from elaunch_events_log.reading.follow import follow
from elaunch_events_log.reading.merge import merged
from elaunch_events_log.reading.selection import Selection


class TestContract(CommandContract):
    command = "events"


def events(
    *arguments: object, cwd: Path, given: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Do what the command does in a process of its own, in this one."""
    words = ["events", *map(str, arguments)]
    there, told, warned = (io.TextIOWrapper(io.BytesIO()) for _ in range(3))
    there.write(given)
    there.seek(0)
    with (
        contextlib.chdir(cwd),
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(warned),
    ):
        patch.setattr(sys, "stdin", there)
        status = main(words)
    texts = []
    for stream in (told, warned):
        stream.seek(0)
        texts.append(stream.read())
    return subprocess.CompletedProcess(words, status, *texts)


def write(path: Path, *written: Event, **options: object) -> None:
    options = {"path": str(path), **options}
    recorder = open_jsonl(JsonlOptions(**options), RecorderParameters("job"))  # type: ignore[arg-type] # of any option
    for event in written:
        recorder.record(event)
    recorder.close()


def numbered(number: int, name: str = "worker.started", **facts: int | str) -> Event:
    return Event(
        name=name,
        run_id="job",
        agent="a",
        host="h",
        sequence=number,
        timestamp=1000.0 + number,
        generation=1 + number // 10,
        metadata=facts,
    )


def sequences(text: str) -> list[int]:
    return [json.loads(line)["sequence"] for line in text.splitlines()]


class TestReading:
    def test_older_parts_are_read_first(self, tmp_path: Path) -> None:
        written = [numbered(n) for n in range(60)]
        write(tmp_path / "e.jsonl", *written, max_bytes=700, backups=99)

        told = events("--json", "e.jsonl", cwd=tmp_path)

        assert (tmp_path / "e.jsonl.12").exists()
        assert sequences(told.stdout) == list(range(60))
        assert told.stderr == ""

    def test_a_pattern_names_files_and_each_event_counts_once(
        self, tmp_path: Path
    ) -> None:
        write(tmp_path / "one.jsonl", numbered(0), numbered(1))
        write(tmp_path / "two.jsonl", numbered(1), numbered(2))

        told = events("--json", "*.jsonl", "one.jsonl", cwd=tmp_path)

        assert sequences(told.stdout) == [0, 1, 2]

    def test_stdin_is_read(self, tmp_path: Path) -> None:
        write(tmp_path / "e.jsonl", numbered(0))

        given = (tmp_path / "e.jsonl").read_text()
        told = events("--json", "-", cwd=tmp_path, given=given)

        assert told.stdout == given

    def test_what_is_torn_or_foreign_is_noted(self, tmp_path: Path) -> None:
        write(tmp_path / "e.jsonl", numbered(0))
        text = (tmp_path / "e.jsonl").read_text()
        (tmp_path / "e.jsonl").write_text(f"hello\n\n{text}{text[:40]}")

        told = events("--json", "e.jsonl", cwd=tmp_path)

        assert told.stdout == text
        assert told.stderr.splitlines() == [
            "elaunch: note: the last line of 'e.jsonl' is cut off",
            "elaunch: note: 1 line of 'e.jsonl' holds no event",
        ]

    def test_what_is_no_text_is_left_out(self, tmp_path: Path) -> None:
        write(tmp_path / "e.jsonl", numbered(0))
        good = (tmp_path / "e.jsonl").read_bytes()
        bad = b"\xff\xfe\n" + good.replace(b'"h"', b'"\xff"')
        given = bad + good

        told = subprocess.run(
            [sys.executable, "-m", "elaunch", "events", "--json", "-"],
            input=given,
            capture_output=True,
            timeout=50,
            check=True,
        )

        assert told.stdout == good
        assert b"2 lines of 'stdin' hold no event" in told.stderr

    def test_a_line_that_is_too_long_is_left_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "e.jsonl"
        write(path, numbered(0), numbered(1))
        first, second = path.read_text().splitlines(keepends=True)
        monkeypatch.setattr(sources, "LINE_LIMIT", len(first) + 10)
        path.write_text(first + first[:-1] + " " * 100 + "\n" + second)

        found = sources.read([str(path)], Selection())

        assert [entry.sequence for entry in found.entries] == [0, 1]
        assert found.notes == [f"1 line of {str(path)!r} holds no event"]

    def test_an_older_part_that_is_no_file_is_left_alone(self, tmp_path: Path) -> None:
        write(tmp_path / "e.jsonl", numbered(0))
        os.mkfifo(tmp_path / "e.jsonl.1")  # which has no end
        (tmp_path / "e.jsonl.2").mkdir()

        told = events("--json", "e.jsonl", cwd=tmp_path)

        assert sequences(told.stdout) == [0]

    @pytest.mark.parametrize("flag", ["--list", "--json", "--name=*"])
    def test_nothing_that_it_tells_moves_about_on_a_terminal(
        self, tmp_path: Path, flag: str
    ) -> None:
        event = {
            "name": "a.\ud800\x1b[2J",
            "timestamp": 1,
            "run_id": "\x9b1m",
            "host": "\u202e",
            "metadata": {"\x9b": "\u2066", "n": [], "\ud800": "\ud800"},
        }
        line = json.dumps(event, ensure_ascii=False)
        text = "\t" + line.replace("\ud800", "\\ud800").replace("\x1b", "\\u001b")
        (tmp_path / "e").write_text(
            text.replace('"n": []', '"n":\r' + "[" * 900 + "]" * 900)
        )

        told = events(flag, "e", cwd=tmp_path)

        assert (told.returncode, told.stderr) == (0, "")
        assert "2J" in told.stdout
        assert told.stdout.removesuffix("\n").isprintable()
        if flag == "--json":
            del (again := json.loads(told.stdout))["metadata"]["n"]
            del event["metadata"]["n"]  # type: ignore[attr-defined] # JSON
            assert again == event

    def test_what_a_filter_leaves_has_the_order_that_it_has_among_all(
        self, tmp_path: Path
    ) -> None:
        chance = random.Random(7)  # noqa: S311 - nothing secret
        for agent in "abcd":
            own, generation, skew = [], 0, chance.uniform(-50, 50)
            for number in range(200):
                joins = chance.random() < 0.1
                generation = (
                    (generation + 1) * (chance.random() < 0.95) if joins else generation
                )
                event = numbered(number, "generation.joined" if joins else "worker.x")
                event = attrs.evolve(
                    event,
                    agent=agent,
                    host=agent,
                    generation=generation,
                    timestamp=1000 + skew + number,
                    metadata={"rank": chance.randrange(4)},
                )
                own.append(event)
            write(tmp_path / f"{agent}.jsonl", *own)
        words = [str(tmp_path / "*.jsonl")]
        everything = merged(sources.read(words, Selection()).entries)
        for selection in (
            Selection(ranks=frozenset({1})),
            Selection(hosts=frozenset({"b", "c"}), names=("worker.*",)),
            Selection(since=1090.0),
        ):
            found = sources.read(words, selection).entries
            some = [each for each in merged(found) if selection.wants(each.entry)]

            assert some == [each for each in everything if selection.wants(each.entry)]
            assert 0 < len(some) <= len(found) < len(everything)

    def test_a_file_that_there_is_not_is_told(self, tmp_path: Path) -> None:
        told = events("nope.jsonl", cwd=tmp_path)

        assert told.returncode == 2
        assert "no file 'nope.jsonl'" in told.stderr
        assert "no file 'xxx" in events("x" * 300, cwd=tmp_path).stderr
        assert "--event-recorder jsonl" in told.stderr

    def test_a_directory_is_told(self, tmp_path: Path) -> None:
        told = events(tmp_path, cwd=tmp_path)

        assert told.returncode == 2
        assert "can't read" in told.stderr

    def test_files_without_events_tell_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "e").touch()

        assert events("e", cwd=tmp_path).stdout == "no events\n"


FILTERS: Sequence[tuple[Sequence[str], list[int]]] = [
    (["--rank", "1-2,7"], [1, 2, 7]),
    (["--name", "worker.*", "--rank", "0-3"], [0, 1, 2, 3]),
    (["--name", "a.b"], []),
    (["--host", "other"], []),
    (["--host", "other", "--node", "a", "--rank", "5"], [5]),
    (["--source", "worker", "--rank", "5"], []),
    (["--source", "agent", "--rank", "5"], [5]),
    (["--generation", "2", "--rank", "0-10"], [10]),
    (["--since", "1003", "--until", "1004.5"], [3, 4]),
    (["--until", "1970-01-01T00:16:41+00:00"], [0, 1]),
    (["--run", "other"], []),
    (["--since", "10m"], []),
]


@pytest.mark.parametrize(("flags", "kept"), FILTERS, ids=str)
def test_filters(flags: Sequence[str], kept: list[int], tmp_path: Path) -> None:
    write(tmp_path / "e.jsonl", *(numbered(n, rank=n) for n in range(20)))

    told = events("--json", *flags, "e.jsonl", cwd=tmp_path)

    assert sequences(told.stdout) == kept


@pytest.mark.parametrize(
    "flags", [["--rank", "x"], ["--generation", "3-1"], ["--since", "soon"]]
)
def test_a_filter_that_makes_no_sense_is_told(
    flags: Sequence[str], tmp_path: Path
) -> None:
    told = events(*flags, "e.jsonl", cwd=tmp_path)

    assert told.returncode == 2
    assert repr(flags[1]) in told.stderr


def test_with_a_filter_events_are_listed_as_lines(tmp_path: Path) -> None:
    write(tmp_path / "e.jsonl", *(numbered(n, rank=n) for n in range(3)))

    told = events("--rank", "1", "e.jsonl", cwd=tmp_path)

    (line,) = told.stdout.splitlines()
    assert line.endswith(" g1 h worker.started rank=1")


def test_what_a_decision_says_for_a_replay_is_in_no_list_but_in_the_json(
    tmp_path: Path,
) -> None:
    facts = {"verdict": "restart", "report": '{"generation": 1}'}
    write(tmp_path / "e.jsonl", numbered(0, "policy.decided", **facts))

    (line,) = events("--list", "e.jsonl", cwd=tmp_path).stdout.splitlines()
    (kept,) = events("--json", "e.jsonl", cwd=tmp_path).stdout.splitlines()

    assert line.endswith(" policy.decided verdict=restart")
    assert json.loads(kept)["metadata"] == facts


def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path: Path) -> None:
    write(tmp_path / "e.jsonl", *(numbered(n) for n in range(5000)))
    command = f"{sys.executable} -m elaunch events --json e.jsonl | head -n 1"

    told = subprocess.run(  # noqa: S602 - a pipeline of our own
        command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert sequences(told.stdout) == [0]
    assert told.stderr == ""


def test_a_page_is_written_where_it_is_asked_for(tmp_path: Path) -> None:
    joined = numbered(0, "generation.joined", generation=1)
    write(tmp_path / "e.jsonl", joined, numbered(1, rank=0, pid=1))

    told = events("--html", "page.html", "e.jsonl", cwd=tmp_path)

    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    assert "<svg" in (tmp_path / "page.html").read_text()
    told = events("--html", tmp_path, "e.jsonl", cwd=tmp_path)
    assert told.returncode == 2
    assert "can't write" in told.stderr


class TestFollowing:
    @pytest.fixture
    def followed(self, tmp_path: Path) -> Iterator["Followed"]:
        followed = Followed(tmp_path)
        yield followed
        followed.close()

    def test_what_comes_is_told(self, tmp_path: Path, followed: "Followed") -> None:
        write(tmp_path / "e.jsonl", numbered(0))
        followed.start("e.jsonl")

        assert followed.sequences(1) == [0]
        write(tmp_path / "e.jsonl", numbered(1), numbered(2))
        assert followed.sequences(2) == [1, 2]
        assert followed.interrupt() == 0

    def test_a_file_may_be_yet_to_come(
        self, tmp_path: Path, followed: "Followed"
    ) -> None:
        write(tmp_path / "one.jsonl", numbered(0))
        followed.start("*.jsonl")

        assert followed.sequences(1) == [0]
        write(tmp_path / "two.jsonl", attrs.evolve(numbered(1), agent="b"))
        assert followed.sequences(1) == [1]

    def test_files_that_are_rotated_are_told_once(
        self, tmp_path: Path, followed: "Followed"
    ) -> None:
        write(tmp_path / "e.jsonl", numbered(0))
        followed.start("e.jsonl")
        assert followed.sequences(1) == [0]

        for part in range(10):
            some = [numbered(n) for n in range(1 + 10 * part, 11 + 10 * part)]
            write(tmp_path / "e.jsonl", *some, max_bytes=1500, backups=99)

        # A part that is put aside just then can be found after the one that follows it.
        assert sorted(followed.sequences(100)) == list(range(1, 101))

    def test_a_torn_line_is_told_when_it_is_whole(
        self, tmp_path: Path, followed: "Followed"
    ) -> None:
        write(tmp_path / "e.jsonl", numbered(0), numbered(1))
        first, second = (tmp_path / "e.jsonl").read_text().splitlines(keepends=True)
        (tmp_path / "e.jsonl").write_text(first + second[:30])
        followed.start("e.jsonl")
        assert followed.sequences(1) == [0]

        with (tmp_path / "e.jsonl").open("a") as file:
            file.write(second[30:])
        assert followed.sequences(1) == [1]

    def test_filters_count_and_stdin_can_be_followed(
        self, tmp_path: Path, followed: "Followed"
    ) -> None:
        write(tmp_path / "e.jsonl", *(numbered(n, rank=n) for n in range(4)))
        followed.start("-", "--rank", "1,3")
        assert followed.process.stdin
        followed.process.stdin.write((tmp_path / "e.jsonl").read_text())
        followed.process.stdin.close()

        assert followed.sequences(2) == [1, 3]
        assert followed.process.wait(120) == 0

    def test_a_line_without_an_end_is_not_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follow_module, "LINE_LIMIT", 10)
        with (tmp_path / "e").open("wb+", buffering=0) as file:
            followed = follow_module.Followed(os.open(tmp_path / "e", os.O_RDONLY))
            for _ in range(3):
                file.write(b"x" * 20)
                assert followed.lines() == []
                assert followed._rest == b""
            file.write(b"end\nnext\n")

            assert followed.lines() == ["next"]
            followed.close()

    def test_a_file_that_is_emptied_is_read_from_its_beginning(
        self, tmp_path: Path, followed: "Followed"
    ) -> None:
        write(tmp_path / "e.jsonl", *(numbered(n) for n in range(3)))
        followed.start("e.jsonl")
        assert followed.sequences(3) == [0, 1, 2]

        os.truncate(tmp_path / "e.jsonl", 0)
        write(tmp_path / "e.jsonl", numbered(3))
        assert followed.sequences(1) == [3]

    def test_a_file_that_can_not_be_read_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="it is a directory"):
            next(follow(lambda: [tmp_path], []))
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(UsageError, match=r"can't read .*: Too many levels"):
            next(follow(lambda: [tmp_path / "loop"], [tmp_path]))

    @pytest.mark.parametrize("flags", [["--html", "x"], ["-"]])
    def test_what_makes_no_sense_with_it_is_told(
        self, tmp_path: Path, flags: Sequence[str]
    ) -> None:
        write(tmp_path / "e.jsonl", numbered(0))

        told = events("--follow", "e.jsonl", *flags, cwd=tmp_path)

        assert told.returncode == 2
        assert "leave out" in told.stderr


class Followed:
    """A command that follows files."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self.process: subprocess.Popen[str]

    def start(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "elaunch", "events", "--follow", "--json"),
                *arguments,
            ],
            cwd=self.cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def sequences(self, count: int) -> list[int]:
        assert self.process.stdout
        lines = [self.process.stdout.readline() for _ in range(count)]
        return [json.loads(line)["sequence"] for line in lines]

    def interrupt(self) -> int:
        self.process.send_signal(2)
        return self.process.wait(120)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream and not stream.closed:
                stream.close()


WORKER = """
import os, pathlib, time
rank, restarts = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]
if rank == "1" and restarts == "0":
    raise ValueError("boom")
"""


def test_the_story_of_a_real_run_with_a_restart(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "elaunch", "run", "--standalone"),
            *("--nproc-per-node", "2", "--max-restarts", "1"),
            *("--event-recorder", "jsonl:path={agent}.jsonl", "worker.py"),
        ],
        cwd=tmp_path,
        capture_output=True,
        timeout=50,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0

    told = events("*.jsonl", cwd=tmp_path)

    assert told.stderr == ""
    assert ": succeeded after " in told.stdout
    generations = [x for x in told.stdout.splitlines() if x.startswith("generation ")]
    assert generations[0] == "generation 1 (first generation): 1 node, 2 workers"
    assert generations[1].endswith(": 1 node, 2 workers, restart 1")
    assert "exit code 1: ValueError: boom (at " in told.stdout
    for phase in ("rendezvous", "spawn", "ran", "detect", "stop", "down"):
        assert f"{phase} 0." in told.stdout
    assert "  ended: 2 succeeded" in told.stdout
