"""Cutting a stream into lines."""

import random

from elaunch_spawn_local.lines import LineCutter


def test_lines_come_when_they_are_whole() -> None:
    cutter = LineCutter()

    assert cutter.feed(b"on") == []
    assert cutter.feed(b"e\ntwo\n\nth") == [b"one", b"two", b""]
    assert cutter.finish() == [b"th"]
    assert cutter.finish() == []


def test_a_stream_that_ends_in_a_newline_has_no_further_line() -> None:
    cutter = LineCutter()
    cutter.feed(b"one\n")

    assert cutter.finish() == []


def test_a_carriage_return_stays_inside() -> None:
    assert LineCutter().feed(b"10%\r20%\r\n") == [b"10%\r20%\r"]


def test_bytes_that_are_no_text_pass() -> None:
    assert LineCutter().feed(b"\xff\x00\xfe\n") == [b"\xff\x00\xfe"]


def test_a_long_line_is_cut() -> None:
    cutter = LineCutter(limit=4)

    assert cutter.feed(b"12345678\n") == [b"1234", b"5678"]
    assert cutter.feed(b"1234\n12345\n") == [b"1234", b"1234", b"5"]


def test_a_line_without_end_is_cut_as_it_grows() -> None:
    cutter = LineCutter(limit=4)

    assert cutter.feed(b"123") == []
    assert cutter.feed(b"456789") == [b"1234", b"5678"]
    assert cutter.finish() == [b"9"]


def test_however_the_bytes_come_the_lines_are_the_same() -> None:
    chance = random.Random(7)  # noqa: S311 - a test wants the same numbers each time
    lines = [b"x" * chance.randrange(50) for _ in range(500)]
    stream = b"\n".join(lines) + b"\n"
    cutter = LineCutter()

    found: list[bytes] = []
    while stream:
        size = chance.randrange(1, 80)
        found += cutter.feed(stream[:size])
        stream = stream[size:]

    assert found + cutter.finish() == lines
