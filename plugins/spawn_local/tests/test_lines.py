"""Cutting a stream into whole lines."""

import random

import pytest

from elaunch_spawn_local.output.lines import ThrottledLines, WholeLines, state


def test_lines_come_when_they_are_whole() -> None:
    lines = WholeLines()

    assert lines.feed(b"on") == b""
    assert lines.feed(b"e\ntwo\n\nth") == b"one\ntwo\n\n"
    assert lines.finish() == b"th\n"
    assert lines.finish() == b""


def test_a_stream_that_ends_in_a_newline_has_no_further_line() -> None:
    lines = WholeLines()
    lines.feed(b"one\n")

    assert lines.finish() == b""


def test_a_bar_of_a_lone_worker_moves_at_once_and_unchanged() -> None:
    lines = WholeLines()

    assert lines.feed(b"10%\r20%\r") == b"10%\r20%\r"
    assert lines.feed(b"30%") == b""
    assert lines.feed(b"\r\n") == b"30%\r\n"


def test_bytes_that_are_no_text_pass() -> None:
    assert WholeLines().feed(b"\xff\x00\xfe\n") == b"\xff\x00\xfe\n"
    assert ThrottledLines().feed(b"\xff\x00\xfe\n", 0) == b"\xff\x00\xfe\n"


def test_a_long_line_is_cut() -> None:
    lines = WholeLines(limit=4)

    assert lines.feed(b"123") == b""
    assert lines.feed(b"4567\n12\n") == b"1234\n567\n12\n"
    assert lines.feed(b"123") == b""
    assert lines.feed(b"4\n56") == b"1234\n"


def test_a_line_without_end_is_cut_as_it_grows() -> None:
    lines = WholeLines(limit=4)

    assert lines.feed(b"123") == b""
    assert lines.feed(b"4567") == b"1234\n"
    assert lines.feed(b"8") == b""
    assert lines.feed(b"9") == b"5678\n"
    assert lines.finish() == b"9\n"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", [WholeLines, ThrottledLines])
def test_however_the_bytes_come_the_lines_are_the_same(
    seed: int, kind: type[WholeLines] | type[ThrottledLines]
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test wants the same numbers each time
    lines = [b"x" * chance.randrange(80) for _ in range(500)]
    stream = b"\n".join(lines) + b"\nend"
    expected = [
        line[i : i + 50] for line in lines for i in range(0, len(line) or 1, 50)
    ]
    cutter = kind(limit=50)

    found = b""
    while stream:
        size = chance.randrange(1, 51)
        if isinstance(cutter, WholeLines):
            found += cutter.feed(stream[:size])
        else:
            found += cutter.feed(stream[:size], 0)
        stream = stream[size:]

    assert (found + cutter.finish()).split(b"\n") == [*expected, b"end", b""]


def test_of_a_bar_one_state_a_second_is_shown() -> None:
    lines = ThrottledLines()

    assert lines.feed(b"\r10%", now=5.0) == b"10%\n"
    assert lines.feed(b"\r20%", now=5.5) == b""
    assert lines.feed(b"\r30%", now=5.6) == b""
    assert lines.due == 6.0
    assert lines.tick(5.9) == b""
    assert lines.tick(6.0) == b"30%\n"
    assert lines.due is None


def test_the_last_state_of_a_bar_is_never_lost_nor_told_twice() -> None:
    lines = ThrottledLines()
    lines.feed(b"\r10%", now=0.0)

    assert lines.feed(b"\r90%\r100%\nnext\n", now=0.1) == b"100%\nnext\n"
    assert lines.feed(b"\r10%", now=0.2) == b""
    assert lines.feed(b"\r50%", now=0.3) == b""
    assert lines.finish() == b"50%\n"

    shown = ThrottledLines()
    assert shown.feed(b"\r100%", now=0.0) == b"100%\n"
    assert shown.feed(b"\nnext\n", now=0.1) == b"next\n"
    assert shown.feed(b"\r100%", now=2.0) == b"100%\n"
    assert shown.finish() == b""


def test_a_line_that_ends_as_on_windows_is_a_line() -> None:
    lines = ThrottledLines()

    assert lines.feed(b"one\r\ntwo\r", now=0.0) == b"one\ntwo\n"
    assert lines.feed(b"\nthree\r\n", now=0.1) == b"three\n"


def test_a_bar_takes_no_memory() -> None:
    lines = ThrottledLines()
    for step in range(10_000):
        lines.feed(b"\r%d" % step, now=0.0)

    assert len(lines._rest) < 10
    assert lines.finish() == b"9999\n"


def test_the_state_of_a_line_is_what_a_terminal_shows_in_the_end() -> None:
    assert state(b"plain") == b"plain"
    assert state(b"10%\r20%") == b"20%"
    assert state(b"\r20%\r") == b"20%"
    assert state(b"20%\r   \r") == b"20%"
    assert state(b"\r") == b""
