"""One rank at the terminal, under a debugger: keys and Ctrl-C are its own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from elaunch.testing.groups import SOON


SCRIPT = """
import os, signal

if os.environ["RANK"] == "1":
    answer, go = 6 * 7, False
    breakpoint()
    print("waits", flush=True)
    while not go:
        signal.pause()
    print("read", input())
else:
    print("beside it")
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator["pexpect.spawn[str]"]:
    """Run a job of three workers of which one is debugged, at a terminal."""
    (tmp_path / "job.py").write_text(SCRIPT)
    flags = ["--nproc-per-node", "3", "--log-dir", "logs", "--rdzv-id", "job"]
    child = pexpect.spawn(
        sys.executable,
        ["-m", "elaunch", "run", *flags, "--debug-rank", "1", "job.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONBREAKPOINT": "pdb.set_trace", "TERM": "dumb"},
        encoding="utf-8",
        timeout=SOON,
        echo=False,
    )
    yield child
    child.close(force=True)


def test_pdb_and_ctrl_c_in_the_rank_that_is_debugged(
    terminal: "pexpect.spawn[str]", tmp_path: Path
) -> None:
    terminal.expect_exact("(Pdb) ")
    terminal.sendline("p answer")
    terminal.expect_exact("42")
    terminal.expect_exact("(Pdb) ")
    terminal.sendline("c")
    terminal.expect_exact("waits")
    terminal.sendintr()
    terminal.expect_exact("Program interrupted")
    terminal.expect_exact("(Pdb) ")
    terminal.sendline("p 'mine', os.tcgetpgrp(0) == os.getpgrp()")
    terminal.expect_exact("('mine', True)")
    terminal.expect_exact("(Pdb) ")
    terminal.sendline("!go = True")
    terminal.expect_exact("(Pdb) ")
    terminal.sendline("c")
    terminal.sendline("a word")
    terminal.expect_exact("read a word")
    terminal.expect_exact("the job succeeded")
    terminal.expect(pexpect.EOF)
    terminal.wait()

    assert terminal.exitstatus == 0
    beside = tmp_path / "logs" / "job" / "1" / "0" / "stdout.log"
    assert beside.read_text() == "beside it\n"


def test_ctrl_c_is_the_agents_again_when_that_rank_has_ended(
    terminal: "pexpect.spawn[str]",
) -> None:
    terminal.expect_exact("(Pdb) ")
    terminal.sendline("exit()")
    terminal.expect_exact("root cause: rank 1")
    terminal.expect(pexpect.EOF)
    terminal.wait()

    assert terminal.exitstatus == 1
