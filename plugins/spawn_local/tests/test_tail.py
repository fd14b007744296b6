"""The last lines of a stream, in memory and from files."""

from pathlib import Path

import pytest

from elaunch.api import OutputSettings, ScriptEntry
from elaunch.testing.groups import exits, started
from elaunch_spawn_local.local import LocalSpawner
from elaunch_spawn_local.output.tail import TAIL_LINES, Tail, tail_of_file


LONG = "ValueError: " + "x" * 300_000


def tail_of(data: bytes, chunk: int) -> tuple[str, ...]:
    tail = Tail()
    for start in range(0, len(data), chunk):
        tail.take(data[start : start + chunk])
    return tail.lines()


@pytest.mark.parametrize("chunk", [1, 7, 1000, 65536])
def test_the_last_lines_are_kept_however_they_come(chunk: int) -> None:
    text = "".join(f"line {number}\n" for number in range(3 * TAIL_LINES))

    ended = tail_of(text.encode(), chunk)
    unended = tail_of(text.encode() + b"rest", chunk)

    lines = text.splitlines()
    assert ended == tuple(lines[-TAIL_LINES:])
    assert unended == (*lines[-TAIL_LINES + 1 :], "rest")
    assert tail_of(b"", chunk) == ()


@pytest.mark.parametrize("chunk", [1000, 65536])
@pytest.mark.parametrize("end", ["\n", ""])
def test_the_beginning_of_an_overlong_line_is_kept(chunk: int, end: str) -> None:
    before, line = tail_of(f"before\n{LONG}{end}".encode(), chunk)

    assert before == "before"
    assert line == LONG[:4096]


@pytest.mark.parametrize("chunk", [1000, 65536])
def test_of_a_bar_the_last_state_is_kept(chunk: int) -> None:
    bar = "".join(f"{number} of 20000\r" for number in range(20_001))

    assert tail_of(bar.encode(), chunk) == ("20000 of 20000",)


def test_lines_are_read_back_through_what_was_rotated_away(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "log.3").write_text("too old\n")
    (tmp_path / "log.2").write_text("one\ntwo\n")
    (tmp_path / "log.1").write_text("three\nfo")
    log.write_text("ur\n" + LONG)

    lines = tail_of_file(str(log), 5, backups=2, stamp=0)

    assert lines == ("one", "two", "three", "four", LONG[:4096])


def test_lines_before_the_start_are_somebody_elses(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("theirs\nours\n")

    assert tail_of_file(str(log), 7, backups=3, stamp=1) == ("urs",)
    assert tail_of_file(str(tmp_path / "none"), 0, backups=3, stamp=0) == ()


@pytest.mark.parametrize("backups", [0, 1, 3])
@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.asyncio
async def test_the_end_of_a_worker_whose_files_are_small_is_known(
    backups: int, *, timestamps: bool, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "for number in range(1000): print('line', number, file=sys.stderr)\n"
    )
    output = OutputSettings(
        log_dir=str(tmp_path / "logs"),
        redirects="3",
        max_bytes=2000,
        backups=backups,
        timestamps=timestamps,
    )
    entry = ScriptEntry(str(script), (), script.name)
    async with started(LocalSpawner("job", output=output), entry) as group:
        tail = (await exits(group))[0].stderr_tail

    assert len(tail) >= 20
    numbers = [int(line.removeprefix("line ")) for line in tail]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 999
    if backups:
        assert numbers == list(range(1000 - len(tail), 1000))
