"""Launches whose standard streams somebody closed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


WORKER = """
import pathlib, sys
print("out")
print("err", file=sys.stderr)
pathlib.Path("done").touch()
"""


def run(folder: Path, redirection: str) -> "subprocess.CompletedProcess[str]":
    (folder / "worker.py").write_text(WORKER)
    launch = f"{sys.executable} -m elaunch run --standalone worker.py {redirection}"
    return subprocess.run(
        ["/bin/sh", "-c", launch],
        cwd=folder,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("redirection", "out", "err"),
    [
        (">&-", "", True),
        ("2>&-", "out\n", False),
        ("<&-", "out\n", True),
        ("<&- >&- 2>&-", "", False),
    ],
)
def test_a_stream_that_is_closed_harms_no_other(
    redirection: str, out: str, *, err: bool, tmp_path: Path
) -> None:
    ended = run(tmp_path, redirection)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == out
    assert ("err\n" in ended.stderr) == err
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-"])
def test_an_error_keeps_its_exit_status(redirection: str) -> None:
    wrong = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m elaunch run --nonsense {redirection}"],
        capture_output=True,
        timeout=120,
        check=False,
    )

    assert wrong.returncode == 2
