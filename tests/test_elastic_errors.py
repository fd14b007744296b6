"""A worker's errors under torchelastic's names: recorded, passed on, made anew."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from test_elastic_names import fail, run_python

from elaunch import LaunchConfig, elastic_launch
from elaunch.elastic.multiprocessing import ProcessFailure
from elaunch.elastic.multiprocessing.errors import (
    ChildFailedError,
    ErrorHandler,
    get_error_handler,
    record,
)


RECORDED = """
import sys
from elaunch.elastic.multiprocessing.errors import ErrorHandler, record
class Handler(ErrorHandler):
    def initialize(self):
        super().initialize()
        print("initialized")
    def record_exception(self, e):
        super().record_exception(e)
        print("recorded", type(e).__name__)
def main(what):
    if what == "raise":
        raise ValueError("as planned")
    sys.exit(int(what))
print(record(main, HANDLER)(sys.argv[1]))
"""


@pytest.mark.parametrize("handler", ["None", "Handler()"])
def test_an_exception_is_recorded_and_an_exit_is_not(
    handler: str, tmp_path: Path
) -> None:
    file = tmp_path / "error.json"
    for what, status in (("raise", 1), ("3", 3), ("0", 0)):
        file.unlink(missing_ok=True)
        code = f"import sys; sys.argv[1:] = [{what!r}]" + RECORDED
        ended = run_python(
            code.replace("HANDLER", handler), TORCHELASTIC_ERROR_FILE=str(file)
        )
        assert ended.returncode == status, ended.stderr
        assert file.exists() == (what == "raise")
        if what == "raise":
            told = json.loads(file.read_text())["message"]
            assert told["message"] == "ValueError: as planned"
            assert ("recorded ValueError" in ended.stdout) == (handler != "None")


class Elsewhere(ErrorHandler):
    """Writes to a file of its own."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.dumped: list[tuple[str, int]] = []

    def _get_error_file_path(self) -> str | None:
        return str(self.path) if self.path else None

    def dump_error_file(self, rootcause_error_file: str, error_code: int = 0) -> None:
        self.dumped.append((rootcause_error_file, error_code))
        super().dump_error_file(rootcause_error_file, error_code)


def test_a_handler_of_errors_chooses_its_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="as planned"):
        record(fail, Elsewhere(tmp_path / "own.json"))()
    with pytest.raises(ValueError, match="as planned"):
        record(fail, error_handler=Elsewhere(None))()

    (written,) = tmp_path.iterdir()
    told = json.loads(written.read_text())["message"]
    assert told["message"] == "ValueError: as planned"
    stack = told["extraInfo"]["py_callstack"]
    assert "in recorded" not in stack  # what only passes the call on


@pytest.mark.parametrize("left", [True, False])
def test_a_handler_of_errors_passes_on_what_a_worker_has_left(
    tmp_path: Path, *, left: bool
) -> None:
    theirs, own = tmp_path / "theirs.json", tmp_path / "own.json"
    if left:
        extra = '{"py_callstack": "Traceback", "timestamp": "86400"}'
        theirs.write_text(f'{{"message": {{"message": "x", "extraInfo": {extra}}}}}')
    failure = ProcessFailure(0, 7, -11, str(theirs))
    handler = Elsewhere(own)

    def launch() -> None:
        raise ChildFailedError("train.py", {0: failure})

    with pytest.raises(ChildFailedError):
        record(launch, handler)()

    told = json.loads(own.read_text())["message"]
    assert told["message"] == ("x" if left else "killed by SIGSEGV")
    assert told["errorCode"] == -11
    assert handler.dumped == [(str(theirs), -11)] * left


def test_an_exit_code_goes_where_there_is_a_place_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nested: dict[str, Any] = {"message": {"message": "x"}}
    flat: dict[str, Any] = {"message": "x"}
    for told in (nested, flat):
        ErrorHandler().override_error_code_in_rootcause_data("f", told, 5)

    assert nested == {"message": {"message": "x", "errorCode": 5}}
    assert flat == {"message": "x"}
    assert "'f' has no place for the exit code 5" in caplog.text


def test_there_is_a_handler_of_errors() -> None:
    assert type(get_error_handler()) is ErrorHandler
    assert record(abs)(-3) == 3


def test_recording_costs_a_worker_no_more_than_it_must() -> None:
    code = (
        "from elaunch.elastic.multiprocessing.errors import record; import sys;"
        "print(sorted(n for n in sys.modules if n.startswith(('elaunch.agent', "
        "'elaunch.plugins', 'elaunch.launcher', 'asyncio'))))"
    )

    assert run_python(code).stdout.strip() == "[]"


NESTED = {
    "message": "ValueError: x",
    "extraInfo": {"py_callstack": "Traceback", "timestamp": "86400"},
}


@pytest.mark.parametrize(
    ("content", "traceback"),
    [
        ({"message": NESTED}, "Traceback"),
        ({"message": "ValueError: x", "timestamp": 86400}, ""),
    ],
)
def test_a_program_makes_a_failure_of_an_error_file(
    tmp_path: Path, content: Any, traceback: str
) -> None:
    file = tmp_path / "error.json"
    file.write_text(json.dumps(content))
    failure = ProcessFailure(local_rank=1, pid=7, exitcode=3, error_file=str(file))

    assert (failure.local_rank, failure.pid, failure.exitcode) == (1, 7, 3)
    assert (failure.message, failure.error_file) == ("ValueError: x", str(file))
    told = failure.error_file_data["message"]
    assert told["message"] == "ValueError: x"
    assert told["extraInfo"]["py_callstack"] == traceback
    assert told["extraInfo"]["timestamp"] == "86400"
    assert failure.timestamp_isoformat()[4::3][:2] == "--"
    assert "_" in failure.timestamp_isoformat()


def test_a_failure_without_an_error_file_tells_how_it_ended() -> None:
    failure = ProcessFailure(0, 7, -signal.SIGSEGV, "")

    assert failure.signal_name() == "SIGSEGV"
    assert failure.message == "killed by SIGSEGV"
    assert ProcessFailure(0, 7, 3, "/no/such").message == "ended with exit code 3"


@pytest.mark.parametrize("text", ["no json", "{}", '{"message": {}}', "[]"])
def test_what_is_no_error_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(ValueError, match="has not the form of an error file"):
        ProcessFailure(0, 7, 3, str(tmp_path / "file"))


def test_the_first_failure_is_found_by_the_rank_that_a_program_gives(
    tmp_path: Path,
) -> None:
    file = tmp_path / "error.json"
    file.write_text('{"message": "early", "timestamp": 1}')
    late, early = ProcessFailure(0, 7, 3, ""), ProcessFailure(1, 8, 3, str(file))

    assert ChildFailedError("x", {0: late, 5: early}).get_first_failure() == (5, early)


def test_failures_of_jobs_are_failures_here() -> None:
    with pytest.raises(ChildFailedError) as caught:
        elastic_launch(LaunchConfig(1, 1, 1, max_restarts=0), fail)()

    failure = caught.value.get_first_failure()[1]
    assert isinstance(failure, ProcessFailure)
    assert not isinstance("text", ProcessFailure)
