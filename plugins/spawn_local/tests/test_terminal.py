"""A terminal stays a terminal: for a worker that is alone, and for one to debug."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from elaunch.testing.groups import SOON


AGENT = """
import asyncio, sys
from pathlib import Path
from elaunch.api import CommandEntry, OutputSettings
from elaunch.testing.groups import exits, started, worker
from elaunch_spawn_local.local import LocalSpawner

async def main(count, debug):
    entry = CommandEntry((sys.executable, "-u", sys.argv[3]), "code")
    output = OutputSettings(debug_rank=debug)
    labels = ["[%d] " % r if count > 1 else "" for r in range(count)]
    workers = [worker(r, label=labels[r], RANK=str(r)) for r in range(count)]
    async with started(LocalSpawner("job", output=output), entry, *workers) as group:
        ended = await exits(group, count)
        Path(sys.argv[3] + ".tail").write_text(repr(ended[0].stderr_tail))

asyncio.run(main(int(sys.argv[1]), eval(sys.argv[2])))
"""


@attrs.define(eq=False)
class Screen:
    """The terminal of an agent, and what was shown on it."""

    fd: int
    agent: "subprocess.Popen[bytes]"
    tail: Path
    shown: bytes = b""

    def wait_for(self, text: bytes) -> bytes:
        """Read until a text was shown; return and forget what came up to it."""
        deadline = time.monotonic() + SOON
        while text not in self.shown:
            ready, _, _ = select.select([self.fd], [], [], deadline - time.monotonic())
            assert ready, f"{text!r} was not shown, but {self.shown!r}"
            self.shown += os.read(self.fd, 4096)
        before, _, self.shown = self.shown.partition(text)
        return before + text

    def rest(self) -> bytes:
        """Return all that is shown until the agent has ended."""
        with contextlib.suppress(OSError):  # how a terminal says that it has ended
            while data := os.read(self.fd, 4096):
                self.shown += data
        assert self.agent.wait(SOON) == 0
        return self.shown

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def resize(self, rows: int, columns: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, size)


@contextlib.contextmanager
def screen(
    folder: Path, code: str, *, workers: int = 1, debug: int | None = None
) -> Iterator[Screen]:
    script = folder / "script.py"
    script.write_text(code)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, str(workers), repr(debug), str(script)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        # The session's first terminal that is opened is its own.
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # noqa: PLW1509 - no threads here
        env={**os.environ, "TMPDIR": str(folder)},
    )
    os.close(theirs)
    try:
        yield Screen(ours, agent, folder / "script.py.tail")
    finally:
        agent.kill()
        agent.wait()
        os.close(ours)


LOOK = """
import os, sys, termios
print(sys.stdout.isatty(), sys.stderr.isatty(), *os.get_terminal_size(1))
"""


def test_a_lone_worker_sees_a_terminal_of_the_right_size(tmp_path: Path) -> None:
    with screen(tmp_path, LOOK) as shown:
        assert shown.rest() == b"True True 77 33\r\n"


def test_several_workers_see_none(tmp_path: Path) -> None:
    code = "import sys; print(sys.stdout.isatty(), sys.stderr.isatty())"
    with screen(tmp_path, code, workers=2) as shown:
        lines = shown.rest().splitlines()

    assert sorted(lines) == [b"[0] False False", b"[1] False False"]


def test_what_a_lone_worker_writes_is_shown_at_once_and_in_its_order(
    tmp_path: Path,
) -> None:
    code = """
import os, sys
for step in range(50):
    os.write(2, b"\\r  \\r")
    os.write(1, b"step %d\\n" % step)
    os.write(2, b"%d%%" % step)
os.write(2, b"\\nmid")
os.read(os.open(sys.argv[0] + ".go", os.O_RDONLY), 1)
os.write(2, b"dle\\n\\x1b[1mend")
"""
    go = tmp_path / "script.py.go"
    os.mkfifo(go)
    with screen(tmp_path, code) as shown:
        # Nothing waits for the end of a line.
        before = shown.wait_for(b"mid")
        go.write_text("g")
        after = shown.rest()

    states = b"".join(b"\r  \rstep %d\r\n%d%%" % (step, step) for step in range(50))
    assert before == states + b"\r\nmid"
    assert after == b"dle\r\n\x1b[1mend"
    assert eval(shown.tail.read_text())[-2:] == ("middle", "\x1b[1mend")  # noqa: S307 - we wrote it


def test_a_new_size_of_the_terminal_reaches_the_worker(tmp_path: Path) -> None:
    code = """
import os, time
print("up")
while os.get_terminal_size(1) != (99, 44): time.sleep(0.01)
print("resized")
"""
    with screen(tmp_path, code) as shown:
        shown.wait_for(b"up\r\n")
        shown.resize(44, 99)
        shown.agent.send_signal(signal.SIGWINCH)
        assert shown.rest() == b"resized\r\n"


def test_pdb_works_in_the_rank_that_is_debugged(tmp_path: Path) -> None:
    code = """
import os, sys
rank = int(os.environ["RANK"])
print("I am", rank, sys.stdin.isatty(), sys.stdout.isatty())
if rank == 1:
    secret = 42
    breakpoint()
    print("went on")
"""
    with screen(tmp_path, code, workers=3, debug=1) as shown:
        assert b"I am 1 True True\r\n" in shown.wait_for(b"(Pdb) ")
        shown.type(b"p secret + 1\n")
        assert b"43\r\n" in shown.wait_for(b"(Pdb) ")
        shown.type(b"continue\n")
        assert b"went on" in shown.rest()

    files = sorted(tmp_path.glob("elaunch-logs-*/job/0/*/stdout.log"))
    assert [file.read_text() for file in files] == [
        "I am 0 False False\n",
        "I am 2 False False\n",
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bar_is_shown_whoever_looks(workers: int, tmp_path: Path) -> None:
    code = """
import os, time
for step in range(101):
    os.write(2, b"\\r%3d%%" % step)
os.write(2, b"\\n")
"""
    with screen(tmp_path, code, workers=workers) as shown:
        text = shown.rest()

    if workers == 1:
        assert text == b"".join(b"\r%3d%%" % step for step in range(101)) + b"\r\n"
    else:
        for rank in range(workers):
            mine = [line for line in text.splitlines() if line[:3] == b"[%d]" % rank]
            assert 1 <= len(mine) <= 3
            assert mine[-1] == b"[%d] 100%%" % rank
