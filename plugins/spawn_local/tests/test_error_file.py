"""Reading what a worker left about its error."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from elaunch_spawn_local.error_file import Told, read_error_file


STACK = """Traceback (most recent call last):
  File "/a/train.py", line 3, in <module>
    main()
  File "/a/model.py", line 40, in main
    raise ValueError("boom")
ValueError: boom
"""


def read(tmp_path: Path, content: Any) -> Told:
    path = tmp_path / "error.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_error_file(path)


def test_the_nested_form(tmp_path: Path) -> None:
    extra = {"py_callstack": STACK, "timestamp": "1700000000"}

    told = read(
        tmp_path, {"message": {"message": "ValueError: boom", "extraInfo": extra}}
    )

    assert told.message == "ValueError: boom"
    assert told.traceback == STACK.rstrip()
    assert told.location == "/a/model.py:40"


@pytest.mark.parametrize(
    ("value", "time"),
    [
        (1700000000.25, 1700000000.25),
        (1700000000, 1700000000.0),
        ("soon", 0.0),
        (True, 0.0),
        (-1, 0.0),
        (10**400, 0.0),
        (float("nan"), 0.0),
        (None, 0.0),
    ],
)
def test_the_time_is_a_number_or_unknown(
    tmp_path: Path, value: Any, time: float
) -> None:
    extra = {"timestamp": "1700000000", "unix_time": value}

    assert (
        read(tmp_path, {"message": {"message": "x", "extraInfo": extra}}).time == time
    )


def test_the_flat_form(tmp_path: Path) -> None:
    assert read(tmp_path, {"message": "boom", "timestamp": 1}) == Told("boom")


def test_a_message_of_many_lines_becomes_one(tmp_path: Path) -> None:
    assert read(tmp_path, {"message": "one\n  two\n"}).message == "one two"


def test_an_endless_message_is_bounded(tmp_path: Path) -> None:
    assert len(read(tmp_path, {"message": "x" * 100_000}).message) == 2048


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json",
        "[1]",
        "3",
        "{}",
        '{"message": 3}',
        '{"message": {}}',
        '{"message": {"message": 3, "extraInfo": 4}}',
        '{"message": {"message": null, "extraInfo": {"py_callstack": 1}}}',
        "[" * 100_000,
        '{"message": "' + "x" * 2_000_000 + '"}',
        "\x00\x01",
    ],
    ids=range(12),
)
def test_rubbish_tells_nothing(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == Told()


def test_bytes_that_are_no_text_tell_nothing(tmp_path: Path) -> None:
    path = tmp_path / "error.json"
    path.write_bytes(b"\xff\xfe\xfd")

    assert read_error_file(path) == Told()


def test_a_missing_file_tells_nothing(tmp_path: Path) -> None:
    assert read_error_file(tmp_path / "missing") == Told()


def test_a_pipe_in_its_place_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert read_error_file(tmp_path / "pipe") == Told()
