"""`elaunch.worker.record`: the error file of a worker that raises."""

import faulthandler
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from elaunch import ChildFailedError, ProcessFailure
from elaunch.worker import record
from elaunch.worker.error_file import MESSAGE_LIMIT, TRACEBACK_LIMIT


@pytest.fixture
def error_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    return path


def told(error_file: Path) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(error_file.read_text())["message"]
    return message


@record
def boom(text: str) -> None:
    raise ValueError(text)


def test_an_exception_is_written_and_raised_on(error_file: Path) -> None:
    with pytest.raises(ValueError, match=r"^no luck$"):
        boom("no luck")

    message = told(error_file)
    assert message["message"] == "ValueError: no luck"
    stack = message["extraInfo"]["py_callstack"]
    assert stack.startswith("Traceback (most recent call last):")
    assert stack.endswith("ValueError: no luck\n")
    assert stack.count("  File ") == 1, "frames of the decorator are left out"
    assert message["extraInfo"]["timestamp"].isdigit()


def test_an_existing_error_file_is_replaced(error_file: Path) -> None:
    error_file.write_text("of another attempt, and longer than what comes now" * 100)
    with pytest.raises(ValueError, match="later"):
        boom("later")

    assert told(error_file)["message"] == "ValueError: later"


def test_nothing_but_the_file_is_left_in_its_directory(error_file: Path) -> None:
    with pytest.raises(ValueError, match="x"):
        boom("x")

    assert list(error_file.parent.iterdir()) == [error_file]


def test_a_value_is_returned_and_nothing_written(error_file: Path) -> None:
    @record
    def add(left: int, *, right: int) -> int:
        """Add two numbers."""
        return left + right

    assert add(1, right=2) == 3
    assert add.__name__ == "add"
    assert not error_file.exists()


@pytest.mark.parametrize("code", [0, None])
def test_a_good_exit_returns_none(error_file: Path, code: int | None) -> None:
    @record
    def leave() -> int:
        sys.exit(code)

    assert leave() is None
    assert not error_file.exists()


@pytest.mark.parametrize("code", [3, "text"])
def test_a_bad_exit_is_raised_on_without_a_file(
    error_file: Path, code: int | str
) -> None:
    @record
    def leave() -> None:
        sys.exit(code)

    with pytest.raises(SystemExit) as caught:
        leave()

    assert caught.value.code == code
    assert not error_file.exists()


def test_a_keyboard_interrupt_is_no_error_of_the_worker(error_file: Path) -> None:
    @record
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert not error_file.exists()


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_nothing_is_written(
    value: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    if value is not None:
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", value)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ValueError, match="x"):
        boom("x")

    assert not list(tmp_path.iterdir())


def test_a_failing_write_does_not_hide_the_exception(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "no" / "such" / "x"))

    with pytest.raises(ValueError, match="the real one"):
        boom("the real one")

    assert "FileNotFoundError" in capsys.readouterr().err


def test_message_and_traceback_are_bounded(error_file: Path) -> None:
    with pytest.raises(ValueError, match="x"):
        boom("x" * 1_000_000)

    message = told(error_file)
    assert message["message"] == "ValueError: ".ljust(MESSAGE_LIMIT, "x")
    assert len(message["extraInfo"]["py_callstack"]) == TRACEBACK_LIMIT


def test_the_time_is_whole_seconds_for_torch_and_exact_beside_it(
    error_file: Path,
) -> None:
    before = time.time()
    with pytest.raises(ValueError, match="x"):
        boom("x")

    extra = told(error_file)["extraInfo"]
    assert before <= extra["unix_time"] <= time.time()
    assert int(extra["timestamp"]) == int(extra["unix_time"])


def test_a_launcher_leaves_the_root_cause_of_its_own_job(error_file: Path) -> None:
    failure = ProcessFailure(
        rank=3,
        local_rank=1,
        role="r",
        host="h",
        pid=7,
        exitcode=9,
        timestamp=12.5,
        message="KeyError: 'inner'",
        traceback="Traceback ...",
    )

    @record
    def nested() -> None:
        raise ChildFailedError("inner.py", {3: failure})

    with pytest.raises(ChildFailedError):
        nested()

    assert told(error_file) == {
        "message": "KeyError: 'inner'",
        "extraInfo": {
            "py_callstack": "Traceback ...",
            "timestamp": "12",
            "unix_time": 12.5,
        },
        "errorCode": 9,
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"message": {"message": "inner"}}, {"message": "inner", "errorCode": 5}),
        ({"message": "<NONE>"}, None),
    ],
)
def test_torchs_launcher_does_so_too_where_its_worker_left_a_file(
    error_file: Path, data: object, message: dict[str, object] | None
) -> None:
    class Failure:
        exitcode = 5
        error_file_data = data

    class ChildFailedError(Exception):
        def get_first_failure(self) -> tuple[int, Failure]:
            return 0, Failure()

    @record
    def nested() -> None:
        raise ChildFailedError("the job failed")

    with pytest.raises(ChildFailedError):
        nested()

    if message:
        assert told(error_file) == message
    else:
        assert told(error_file)["message"] == "ChildFailedError: the job failed"


def test_what_is_no_file_is_not_replaced_by_one(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(pipe))

    with pytest.raises(ValueError, match="the real one"):
        boom("the real one")

    assert pipe.is_fifo()
    assert "is not a regular file" in capsys.readouterr().err


def test_an_exception_without_a_text_still_leaves_a_file(error_file: Path) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @record
    def mute() -> None:
        raise MuteError

    with pytest.raises(MuteError):
        mute()

    assert told(error_file)["message"] == "MuteError: <exception str() failed>"


def test_bytes_that_are_no_text_survive(error_file: Path) -> None:
    with pytest.raises(ValueError, match="a"):
        boom("a\udcff")

    assert told(error_file)["message"] == "ValueError: a\udcff"


def test_the_fault_handler_is_on_for_the_duration() -> None:
    program = (
        "import faulthandler\n"
        "from elaunch.worker import record\n"
        "print(faulthandler.is_enabled(), record(faulthandler.is_enabled)(),"
        " faulthandler.is_enabled())\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert run.stdout.split() == ["False", "True", "False"]


def test_a_stderr_without_a_descriptor_hinders_nobody(
    error_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(ValueError, match="x"):
        boom("x")

    assert told(error_file)["message"] == "ValueError: x"


def test_a_fault_handler_that_is_on_stays_on() -> None:
    before = faulthandler.is_enabled()
    faulthandler.enable()
    try:
        record(lambda: None)()
        assert faulthandler.is_enabled()
    finally:
        if not before:
            faulthandler.disable()


def test_importing_it_imports_nothing_else_of_elaunch() -> None:
    program = (
        "import sys\n"
        "import elaunch.worker\n"
        "print(*sorted(m for m in sys.modules if m.startswith('elaunch')))\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert run.stdout.split() == [
        "elaunch",
        "elaunch.worker",
        *(
            f"elaunch.worker.{part}"
            for part in (
                *("channel", "error_file", "launched", "listening"),
                *("notice_file", "plain", "stacks", "telling"),
            )
        ),
    ]
