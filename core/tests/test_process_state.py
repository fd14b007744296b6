"""The state of a process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from elaunch.process_state import is_uninterruptible_state, read_proc_state


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is in /proc")


def test_a_process_that_is_stopped_says_so() -> None:
    with subprocess.Popen(["sleep", "3600"]) as process:  # noqa: S607 - any
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        state = read_proc_state(process.pid)
        process.kill()

    assert state == "T"
    assert not is_uninterruptible_state(state)


def test_a_name_with_blanks_and_parentheses_does_not_matter(tmp_path: Path) -> None:
    program = tmp_path / "a ) D (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "3600"]) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        state = read_proc_state(process.pid)
        process.kill()

    assert state == "T"


def test_who_is_not_there_has_none() -> None:
    assert read_proc_state(1 << 22) is None


@pytest.mark.parametrize(
    ("state", "stuck"), [("D", True), ("D+", True), ("S", False), (None, False)]
)
def test_only_d_is_uninterruptible(state: str | None, *, stuck: bool) -> None:
    assert is_uninterruptible_state(state) is stuck
