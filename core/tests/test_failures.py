"""Failures: what is read from stderr, and how it is told."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from elaunch.errors import ChildFailedError
from elaunch.failures import ProcessFailure, explain, root_cause, signal_name
from elaunch.workers import WorkerExit, WorkerRanks, failure_of


def failure(rank: int, timestamp: float, exitcode: int = 1) -> ProcessFailure:
    return ProcessFailure(
        rank=rank,
        local_rank=rank,
        role="default",
        host="node-1",
        pid=100 + rank,
        exitcode=exitcode,
        timestamp=timestamp,
        message="ValueError: boom",
        location="train.py:12",
        stderr_tail=("line 1", "line 2"),
    )


def stderr_of(tmp_path: Path, script: str) -> list[str]:
    path = tmp_path / "script.py"
    path.write_text(script)
    ended = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=False
    )
    return ended.stderr.splitlines()


class TestExplain:
    def test_a_plain_exception(self, tmp_path: Path) -> None:
        seen = explain(stderr_of(tmp_path, "x = 1\nraise ValueError('boom')\n"))

        assert seen.message == "ValueError: boom"
        assert seen.location == f"{tmp_path}/script.py:2"
        assert seen.traceback.startswith("Traceback (most recent call last):")
        assert seen.traceback.endswith("ValueError: boom")

    def test_the_innermost_frame_is_the_place(self, tmp_path: Path) -> None:
        script = "def f():\n    return 1 / 0\n\nf()\n"
        seen = explain(stderr_of(tmp_path, script))

        assert seen.message == "ZeroDivisionError: division by zero"
        assert seen.location.endswith("script.py:2")

    def test_a_chained_exception_is_the_last_one(self, tmp_path: Path) -> None:
        script = (
            "try:\n    1 / 0\nexcept Exception as e:\n    raise KeyError('k') from e"
        )
        seen = explain(stderr_of(tmp_path, script))

        assert seen.message == "KeyError: 'k'"
        assert seen.location.endswith("script.py:4")

    def test_what_comes_after_is_passed_over(self) -> None:
        lines = [
            "noise",
            "Traceback (most recent call last):",
            '  File "a.py", line 3, in <module>',
            "    f()",
            "my.pkg.CustomError",
            "Exception ignored in: <function>",
        ]

        assert explain(lines).message == "my.pkg.CustomError"

    def test_a_cut_traceback_keeps_what_there_is(self) -> None:
        lines = ["Traceback (most recent call last):", '  File "a.py", line 3, in f']

        assert explain(lines).message == ""
        assert explain(lines).location == "a.py:3"

    def test_no_traceback_explains_nothing(self) -> None:
        assert explain(["just", "noise"]).message == ""
        assert explain([]).location == ""


class TestFailureOf:
    RANKS = WorkerRanks(local_rank=1, rank=5, role_rank=5)

    def exit(self, exitcode: int, **facts: Any) -> WorkerExit:
        return WorkerExit(
            ranks=self.RANKS, pid=9, exitcode=exitcode, timestamp=2.0, **facts
        )

    def test_a_signal_is_named(self) -> None:
        told = failure_of(self.exit(-signal.SIGSEGV), role="r", host="h")

        assert told.message == "killed by SIGSEGV"
        assert told.signal_name() == "SIGSEGV"
        assert told.status == 128 + signal.SIGSEGV

    def test_a_bare_exit_code_is_the_message(self) -> None:
        told = failure_of(self.exit(42), role="r", host="h")

        assert told.message == "ended with exit code 42"
        assert told.signal_name() == ""
        assert told.status == 42

    def test_what_the_worker_said_wins(self) -> None:
        tail = ("Traceback (most recent call last):", '  File "a", line 1', "Error: x")
        ended = self.exit(1, message="ValueError: said", stderr_tail=tail)
        told = failure_of(ended, role="r", host="h")

        assert told.message == "ValueError: said"
        assert told.location == "a:1"

    def test_the_tail_is_bounded(self) -> None:
        tail = tuple(f"line {n}" for n in range(100))
        told = failure_of(self.exit(1, stderr_tail=tail), role="r", host="h")

        assert told.stderr_tail == tail[-20:]


class TestReport:
    def test_the_root_cause_is_the_first_by_time(self) -> None:
        assert root_cause([failure(0, 2.0), failure(1, 1.0)]).rank == 1

    def test_it_comes_first_and_says_everything(self) -> None:
        error = ChildFailedError(
            "train.py", {0: failure(0, 2.0), 1: failure(1, 1.0, 7)}
        )
        text = str(error)

        assert text.startswith("train.py failed; root cause: rank 1 (local rank 1")
        for fact in (
            "node-1",
            "pid 101",
            "exit code 7",
            "boom",
            "train.py:12",
            "line 2",
        ):
            assert fact in text.partition("also failed")[0]
        assert "rank 0" in text.partition("also failed")[2]
        assert error.status == 7
        assert error.get_first_failure()[0] == 1

    def test_a_failure_with_exit_code_0_still_is_one(self) -> None:
        assert ChildFailedError("job", {0: failure(0, 1.0, 0)}).status == 1


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (250, "signal 250")])
def test_signal_names(number: int, name: str) -> None:
    assert signal_name(number) == name
