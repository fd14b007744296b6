"""What a job that fails says at the end: on the screen and in its file."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, Launch, Script
from cgroups import frozen, memory_limit


HANG = "import os, signal\nprint('pid', os.getpid(), flush=True)\nsignal.pause()\n"


def test_a_node_with_a_worker_that_cant_be_killed_leaves(
    launch: Launch, script: Script
) -> None:
    worker = script(HANG)
    budget = ("--max-restarts", "3", "--shutdown-timeout", "0.5")
    agent = launch("--standalone", *budget, "--nproc-per-node", "2", worker)
    agent.wait_for(r"pid \d+", 2)
    held, other = (int(agent.wait_for(rf"^\[{r}\] pid (\d+)")[0][1]) for r in (0, 1))
    with frozen("agent", held):
        os.kill(other, signal.SIGKILL)
        status = agent.wait()

    assert status == 1, agent.output
    assert re.search(rf"process {held} is still there .* \(state D", agent.output)
    assert "error: processes of the workers can't be killed on host" in agent.output


UNDECORATED = """import os, sys
print("last words", file=sys.stderr)
if os.environ["RANK"] == "1":
    try:
        {}["label"]
    except KeyError as error:
        raise ValueError("bad batch") from error
import signal
signal.pause()
"""


def report_of(agent: Agent) -> tuple[list[str], dict[str, Any]]:
    """Return the last block on the screen, and what the file says."""
    start = max(i for i, line in enumerate(agent.lines) if "root cause" in line)
    block = agent.lines[start:]
    path = block[-1].removeprefix("the same as JSON: ")
    assert path != block[-1], agent.output
    return block, json.loads(Path(path).read_text())


def test_an_undecorated_script_tells_all_of_its_error(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    worker = script(UNDECORATED)
    agent = launch(
        "--standalone", "--nproc-per-node", "4", worker, TMPDIR=str(tmp_path)
    )
    assert agent.wait() == 1
    block, kept = report_of(agent)
    first = kept["root_cause"]

    host = socket.gethostname()
    assert block[0] == (
        f"elaunch: error: {worker} failed; root cause: rank 1 (local rank 1, role "
        f"'default') on host {host!r}, pid {first['pid']}: exit code 1"
    )
    assert block[2:6] == [
        "  error: ValueError: bad batch",
        f"  at: {worker}:7",
        f"  behind it: KeyError: 'label' at {worker}:5",
        f"  last {len(first['stderr_tail'])} lines of stderr:",
    ]
    assert "    last words" in block
    assert not any("elaunch" in line for line in block[1:-1])
    assert (first["rank"], first["local_rank"], first["host"]) == (1, 1, host)
    assert (first["message"], first["location"]) == (
        "ValueError: bad batch",
        f"{worker}:7",
    )
    assert (first["ending"], first["exitcode"], kept["status"]) == ("exit", 1, 1)
    assert [f"    {line}" for line in first["stderr_tail"]] == block[6:-1]
    assert kept["also_failed"] == []
    (directory,) = tmp_path.glob("elaunch-failure-*")
    assert directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_a_crash_of_a_program_in_c_tells_its_signal(
    launch: Launch, tmp_path: Path
) -> None:
    source = tmp_path / "crash.c"
    source.write_text(
        "#include <stdio.h>\n"
        'int main() { fputs("about to crash\\n", stderr); *(volatile int *)0 = 1; }\n'
    )
    program = str(tmp_path / "crash")
    subprocess.run([str(shutil.which("cc")), str(source), "-o", program], check=True)
    file = tmp_path / "reports" / "failure.json"
    agent = launch("--standalone", "--no-python", "--failure-file", str(file), program)

    assert agent.wait() == 128 + signal.SIGSEGV
    block, kept = report_of(agent)
    first = kept["root_cause"]
    assert block[0].endswith(f"pid {first['pid']}: SIGSEGV")
    assert block[2:5] == [
        "  error: killed by SIGSEGV",
        "  last 1 line of stderr:",
        "    about to crash",
    ]
    assert block[-1] == f"the same as JSON: {file}"
    assert (first["signal"], first["status"]) == ("SIGSEGV", 139)
    assert list(file.parent.iterdir()) == [file], "no draft is left"


def test_a_crash_of_python_tells_file_and_line(launch: Launch, script: Script) -> None:
    worker = script("import ctypes\n\ndef f():\n    ctypes.string_at(0)\n\nf()\n")
    agent = launch("-q", "--standalone", worker)

    assert agent.wait() == 128 + signal.SIGSEGV
    block, kept = report_of(agent)
    assert block[2] == "  error: Fatal Python error: Segmentation fault"
    assert f"{worker}" in kept["root_cause"]["traceback"]


def test_a_file_that_cant_be_written_hides_no_failure(
    launch: Launch, script: Script
) -> None:
    worker = script("raise SystemExit(7)")
    agent = launch("--standalone", "--failure-file", worker + "/x", worker)

    assert agent.wait() == 7
    assert f"can't write the failure report to {worker + '/x'!r}" in agent.output
    assert report_of(agent)[1]["status"] == 7


class TestLaunchersInside:
    def test_the_outer_one_is_told_the_root_cause(
        self, launch: Launch, script: Script, tmp_path: Path
    ) -> None:
        target = tmp_path / "outer.json"
        worker = script("raise ValueError('inner')")
        agent = launch("--standalone", worker, TORCHELASTIC_ERROR_FILE=str(target))

        assert agent.wait() == 1
        told = json.loads(target.read_text())["message"]
        assert (told["message"], told["errorCode"]) == ("ValueError: inner", 1)
        assert f'File "{worker}", line 1' in told["extraInfo"]["py_callstack"]
        assert told["extraInfo"]["timestamp"].isdigit()

    def test_and_shows_it(self, launch: Launch, script: Script) -> None:
        inner = Path(script("")).with_name("inner.py")
        inner.write_text("raise ValueError('inner')")
        code = (
            "import subprocess, sys\n"
            "argv = [sys.executable, '-m', 'elaunch', 'run', '-q', '--standalone', "
            f"{str(inner)!r}]\nsys.exit(subprocess.run(argv).returncode)\n"
        )
        agent = launch("-q", "--standalone", script(code))

        assert agent.wait() == 1
        kept = report_of(agent)[1]
        assert kept["root_cause"]["message"] == "ValueError: inner"
        assert kept["root_cause"]["location"] == f"{inner}:1"

    def test_any_other_failure_is_told_too(
        self, launch: Launch, tmp_path: Path
    ) -> None:
        target = tmp_path / "outer.json"
        agent = launch(
            "--standalone",
            "--no-python",
            "/no/such/program",
            TORCHELASTIC_ERROR_FILE=str(target),
        )

        assert agent.wait() == 5
        told = json.loads(target.read_text())["message"]
        assert told["message"].startswith("SpawnError: can't start worker 0")
        assert told["errorCode"] == 5

    def test_a_path_that_cant_be_written_hides_no_failure(
        self, launch: Launch, script: Script, tmp_path: Path
    ) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        agent = launch(
            "--standalone",
            script("raise SystemExit(9)"),
            TORCHELASTIC_ERROR_FILE=str(pipe),
        )

        assert agent.wait() == 9
        assert "is not a regular file" in agent.output
        assert report_of(agent)[1]["status"] == 9
        assert pipe.is_fifo()

    def test_a_success_leaves_nothing(
        self, launch: Launch, script: Script, tmp_path: Path
    ) -> None:
        target = tmp_path / "outer.json"
        agent = launch("--standalone", script(""), TORCHELASTIC_ERROR_FILE=str(target))

        assert agent.wait() == 0
        assert not target.exists()


def test_a_kill_for_lack_of_memory_tells_the_limit(
    launch: Launch, script: Script
) -> None:
    code = "held = []\nwhile True: held.append(bytearray(1 << 20))\n"
    with memory_limit("report", 256 << 20) as directory:
        enter = f'echo $$ > {directory}/cgroup.procs; exec "$@"'
        agent = launch("--standalone", script(code), prefix=("sh", "-c", enter, "sh"))
        status = agent.wait()

    assert status == 128 + signal.SIGKILL
    block, kept = report_of(agent)
    assert block[0].endswith("SIGKILL (out of memory)")
    assert block[2] == (
        "  error: killed by SIGKILL: out of memory; the limit is 268435456 bytes "
        f"(256.0 MiB) of {str(directory)!r}"
    )
    assert kept["root_cause"]["ending"] == "out-of-memory"


def launched(tmp_path: Path, method: str, *body: str) -> tuple[Path, str]:
    """Launch a function of these lines; return the program and what it said."""
    program = tmp_path / "program.py"
    lines = "".join(f"    {line}\n" for line in body)
    program.write_text(
        "from elaunch import LaunchConfig, elastic_launch\n"
        f"def train():\n{lines}"
        "if __name__ == '__main__':\n"
        "    config = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=1,\n"
        f"        max_restarts=0, start_method={method!r})\n"
        "    elastic_launch(config, train)()\n"
    )
    ended = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=False
    )
    return program, ended.stderr


METHODS = pytest.mark.parametrize("method", ["spawn", "fork", "warm"])


@METHODS
@pytest.mark.parametrize("error", ["ValueError('boom')", "KeyboardInterrupt('boom')"])
def test_a_function_that_raises_shows_no_frame_of_the_launcher(
    tmp_path: Path, method: str, error: str
) -> None:
    program, said = launched(tmp_path, method, f"raise {error}")
    head, _, _ = said.partition(f"{error.partition('(')[0]}: boom\n")

    assert head.splitlines() == [
        "Traceback (most recent call last):",
        f'  File "{program}", line 3, in train',
        f"    raise {error}",
    ]


@METHODS
def test_nor_does_a_value_that_cant_be_handed_back(tmp_path: Path, method: str) -> None:
    _, said = launched(tmp_path, method, "import threading", "return threading.Lock()")
    live, _, report = said.partition("root cause: ")
    message = (
        "TypeError: the function returned a 'lock', which can't be handed back: "
        "cannot pickle '_thread.lock' object; return plain data"
    )

    assert message in live.splitlines()
    assert f"  error: {message}" in report.splitlines()
    assert f"    {message}" in report.splitlines()
    assert "  at: " not in report
    assert "function_worker" not in said


STUCK = """import os, signal, threading
if os.environ["RANK"] == "1":
    print("pid", os.getpid(), flush=True)
    signal.pause()
def waits_for_ever():
    lock = threading.Lock()
    lock.acquire()
    print("stuck", flush=True)
    lock.acquire()
waits_for_ever()
"""


@pytest.mark.parametrize("seconds", ["20", "0"])
def test_who_hangs_when_another_fails_is_shown(
    launch: Launch, script: Script, tmp_path: Path, seconds: str
) -> None:
    flags = ("--standalone", "--dump-stacks", seconds, "--nproc-per-node", "2")
    agent = launch(*flags, script(STUCK), TMPDIR=str(tmp_path))
    agent.wait_for("stuck")
    os.kill(int(agent.wait_for(r"pid (\d+)")[0][1]), signal.SIGKILL)
    agent.wait()
    block, kept = report_of(agent)

    if seconds == "0":
        assert kept["stacks"] == []
        assert not any("stacks" in line for line in block)
        return
    (directory,) = tmp_path.glob("elaunch-failure-*")
    file = directory / "stacks" / "1" / "rank-0.txt"
    assert kept["stacks"] == [str(file)]
    assert block[-3:-1] == [
        "stacks of workers of this node before they were stopped:",
        f"  {file}",
    ]
    agent.wait_for(rf"^elaunch: wrote the stacks of 1 worker to '{file.parent}'$")
    assert "waits_for_ever" in file.read_text()
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_survivor_on_another_node_is_shown_too(
    launch: Launch, script: Script, endpoint: str
) -> None:
    worker = script(STUCK)
    flags = ("--nnodes", "2", "--rdzv-endpoint", endpoint, "--rdzv-id", "job")
    survivor, failing = (
        launch(*flags, "--dump-stacks", "20", "--node-rank", rank, worker)
        for rank in ("0", "1")
    )
    survivor.wait_for("stuck")
    os.kill(int(failing.wait_for(r"pid (\d+)")[0][1]), signal.SIGKILL)

    assert survivor.wait() == 128 + signal.SIGKILL
    assert failing.wait() == 128 + signal.SIGKILL
    (file,) = report_of(survivor)[1]["stacks"]
    assert "waits_for_ever" in Path(file).read_text()
    assert report_of(failing)[1]["stacks"] == []


def test_an_unhealthy_worker_is_shown_before_it_is_stopped(
    launch: Launch, script: Script
) -> None:
    code = (
        "import signal\ndef holds_much():\n    held = bytearray(100 << 20)\n"
        "    signal.pause()\nholds_much()\n"
    )
    monitor = ("--monitor", f"process:interval=0.1,max_rss={60 << 20}")
    agent = launch("--standalone", *monitor, "--dump-stacks", "20", script(code))

    assert agent.wait() == 8
    block, kept = report_of(agent)
    first = kept["root_cause"]
    assert first["ending"] == "unhealthy"
    assert block[0].endswith(f"pid {first['pid']}: unhealthy")
    assert first["message"].startswith(f"unhealthy: process {first['pid']} uses ")
    agent.wait_for(rf"^elaunch: rank 0 unhealthy: process {first['pid']} uses .* MiB")
    (file,) = kept["stacks"]
    assert "holds_much" in Path(file).read_text()


TIMED = """import os, signal
from elaunch.timer import FileTimerClient, configure, expires
configure(FileTimerClient(os.environ["TORCHELASTIC_TIMER_FILE"]))
def waits_for_ever():
    signal.pause()
if os.environ["RANK"] == "0":
    waits_for_ever()
with expires(after=0.1, scope="step"):
    waits_for_ever()
"""


@pytest.mark.parametrize("more", [(), ("--dump-stacks", "20")])
def test_where_a_worker_hangs_is_written_before_it_is_killed_and_once(
    launch: Launch, script: Script, tmp_path: Path, more: tuple[str, ...]
) -> None:
    flags = ("--standalone", "--nproc-per-node", "2", "--monitor", "timer", *more)
    agent = launch(*flags, script(TIMED), TMPDIR=str(tmp_path))
    agent.wait()
    block, kept = report_of(agent)

    (directory,) = tmp_path.glob("elaunch-failure-*/stacks/1")
    first = kept["root_cause"]
    files = [str(directory / f"rank-{rank}.txt") for rank in (1, 0)]
    assert first["monitor"] == "timer"
    assert first["stacks"] == kept["stacks"] == files
    assert "waits_for_ever" in Path(files[0]).read_text()
    assert f"  stacks: {files[0]} and 1 file beside it" in block
    assert not any("before they were stopped" in line for line in block)
    (told,) = agent.wait_for("wrote the stacks")
    assert re.search(
        rf"rank 1 unhealthy: timer 'step' has expired; its holder is killed by "
        rf"SIGKILL; wrote the stacks of 2 workers to '{directory}'$",
        told.string,
    )


NO_TEXT = """import os
from elaunch.worker import record
@record
def main():
    raise ValueError("can't read " + os.fsdecode(b"caf\\xe9.txt"))
main()
"""


def test_an_error_that_is_no_text_is_told_like_any_other(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    logs = os.fsencode(tmp_path) + b"/caf\xe9"
    agent = launch(
        *("--standalone", "--nproc-per-node", "1", "--log-dir", os.fsdecode(logs)),
        *("--redirects", "3", script(NO_TEXT)),
    )
    assert agent.wait() == 1
    assert "error: ValueError: can't read caf\\udce9.txt" in agent.output


LATE = """import atexit, os, signal, time
from elaunch.worker import record
first = os.path.join(os.environ["SHARED"], "first")
def tidy_up():
    open(first, "w").close()
    signal.pause()
@record
def main():
    if os.environ["RANK"] == "0":
        atexit.register(tidy_up)
        raise ValueError("the cause")
    while not os.path.exists(first):
        time.sleep(0.01)
    raise ConnectionError("the peer is gone")
main()
"""


def test_who_failed_first_and_ended_last_is_the_root_cause(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", script(LATE)), SHARED=str(tmp_path)
    )
    assert agent.wait() == 1
    assert "root cause: rank 0 " in agent.output
    assert "error: ValueError: the cause" in agent.output
    assert re.search("also failed:\n.*rank 1 .*the peer is gone", agent.output)


STAYS = """import os, signal, sys, time
ready = os.path.join(os.environ["SHARED"], "ready")
if os.environ["RANK"] == "0":
    while not os.path.exists(ready):
        time.sleep(0.01)
    sys.exit(9)
signal.signal(signal.SIGTERM, lambda *_: print("was told", flush=True))
open(ready, "w").close()
while True:
    signal.pause()
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_a_failure_hurries_and_changes_nothing_in_it(
    launch: Launch, script: Script, tmp_path: Path, signum: int
) -> None:
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--shutdown-timeout", "600"),
        script(STAYS),
        SHARED=str(tmp_path),
    )
    agent.wait_for("was told")
    agent.process.send_signal(signum)
    agent.wait_for("SIG")
    agent.process.send_signal(signal.SIGINT)

    assert agent.wait() == 9
    assert "root cause: rank 0 " in agent.output
