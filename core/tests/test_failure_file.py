"""What a failed job leaves behind: its report as JSON, and an outer launcher's file."""

import json
import re
from pathlib import Path

import attrs
import pytest

from elaunch.errors import (
    ChildFailedError,
    ElaunchError,
    RendezvousGracefulExit,
    RendezvousTimeout,
    SignalException,
)
from elaunch.failure_file import (
    SCHEMA,
    document,
    tell_outer_launcher,
    temporary_file,
    write_failure,
)
from elaunch.failures import Ending, ProcessFailure


PAGE = Path(__file__).parents[2] / "docs" / "failure-report.md"
FIRST = ProcessFailure(
    rank=3,
    local_rank=1,
    role="trainer",
    host="node-1",
    pid=77,
    exitcode=-9,
    timestamp=1.25,
    ending=Ending.OUT_OF_MEMORY,
    message="killed by SIGKILL",
    stderr_tail=("one", "b\udcffd"),
)
LATER = attrs.evolve(FIRST, rank=0, timestamp=2.0)
ERROR = ChildFailedError("train.py", {0: LATER, 3: FIRST}, ("/s/rank-0.txt",))


def test_it_has_the_facts_of_the_screen() -> None:
    told = document(ERROR, "job-1")

    assert (told["schema"], told["run_id"], told["name"]) == (
        SCHEMA,
        "job-1",
        "train.py",
    )
    assert told["status"] == ERROR.status == 137
    assert told["stacks"] == ["/s/rank-0.txt"]
    assert [failure["rank"] for failure in told["also_failed"]] == [0]
    first = told["root_cause"]
    assert {name: first[name] for name in ("rank", "signal", "status", "time")} == {
        "rank": 3,
        "signal": "SIGKILL",
        "status": 137,
        "time": "1970-01-01T00:00:01.250+00:00",
    }
    assert first["ending"] == "out-of-memory"


def test_every_field_is_documented() -> None:
    told = document(ERROR, "job-1")
    text = PAGE.read_text()
    tables = text.split("| field |")[1].split("| field of a failure |")

    for table, fields in zip(tables, (told, told["root_cause"]), strict=True):
        rows = re.findall(r"^\| (`.+?) \|", table.split("\n\n")[0], re.MULTILINE)
        assert {n for row in rows for n in re.findall(r"`(\w+)`", row)} == set(fields)


def test_every_ending_is_documented() -> None:
    section = PAGE.read_text().split("| ending | meaning |")[1].split("\n\n")[0]

    assert re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE) == list(Ending)


def test_whatever_a_worker_wrote_can_be_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "failure.json")

    assert write_failure(ERROR, "job", path, temporary_file()) == path
    kept = json.loads(Path(path).read_text())
    assert kept["root_cause"]["stderr_tail"] == ["one", "b\\udcffd"]
    assert [each.name for each in Path(path).parent.iterdir()] == ["failure.json"]


def test_where_it_cant_be_written_another_place_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    otherwise = str(tmp_path / "other" / "failure.json")

    assert write_failure(ERROR, "job", str(tmp_path), otherwise) == otherwise
    assert f"can't write the failure report to {str(tmp_path)!r}" in caplog.text


@pytest.mark.parametrize("bad", ["a\0b", "/proc/no/such/x"])
def test_with_no_place_at_all_there_is_no_file_and_no_error(bad: str) -> None:
    assert write_failure(ERROR, "job", bad, bad) == ""


class TestOuterLauncher:
    def told(self, tmp_path: Path, error: BaseException) -> dict[str, object] | None:
        path = tmp_path / "error.json"
        tell_outer_launcher(error, {"TORCHELASTIC_ERROR_FILE": str(path)})
        if not path.exists():
            return None
        message: dict[str, object] = json.loads(path.read_text())["message"]
        return message

    def test_it_is_told_the_root_cause_with_its_exit_code(self, tmp_path: Path) -> None:
        assert self.told(tmp_path, ERROR) == {
            "message": "killed by SIGKILL",
            "extraInfo": {
                "py_callstack": "killed by SIGKILL",
                "timestamp": "1",
                "unix_time": 1.25,
            },
            "errorCode": -9,
        }

    def test_it_is_told_of_other_errors(self, tmp_path: Path) -> None:
        told = self.told(tmp_path, RendezvousTimeout("nobody came"))

        assert told
        assert told["message"] == "RendezvousTimeout: nobody came"
        assert told["errorCode"] == 6

    @pytest.mark.parametrize(
        "error",
        [SignalException(15), RendezvousGracefulExit("done"), KeyboardInterrupt()],
    )
    def test_it_is_not_told_of_what_is_no_failure(
        self, tmp_path: Path, error: BaseException
    ) -> None:
        assert self.told(tmp_path, error) is None

    @pytest.mark.parametrize("path", ["/dev/null", "a\0b", "/proc/no/such/x", "."])
    def test_a_wrong_path_is_a_warning(
        self, path: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        tell_outer_launcher(ERROR, {"TORCHELASTIC_ERROR_FILE": path})

        assert "can't tell the launcher around this one of the failure" in caplog.text
        assert Path("/dev/null").is_char_device()

    @pytest.mark.parametrize("environment", [{}, {"TORCHELASTIC_ERROR_FILE": ""}])
    def test_without_one_nothing_is_written(
        self, environment: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        tell_outer_launcher(ElaunchError("x"), environment)

        assert caplog.text == ""
