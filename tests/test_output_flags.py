"""The flags about output, by whole jobs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import forks
import pytest


WORKER = """
import contextlib, os, sys
rank = os.environ["RANK"]
print("out", rank)
print("err", rank, file=sys.stderr)
sys.stdout.flush()
sys.stderr.flush()
if sys.argv[1:]:
    restarts = os.environ["ELAUNCH_RESTART_COUNT"]
    # Who fails waits for the other, which would be stopped before it has written.
    with contextlib.suppress(FileExistsError):
        os.mkfifo(restarts)
    open(restarts, "rw"[rank == "0"]).close()
    if rank == "1" and int(restarts) < int(sys.argv[1]):
        sys.exit(7)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "worker.py").write_text(WORKER)
    return tmp_path


def run(
    folder: Path, *words: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    flags = ("-q", "--standalone", "--nproc-per-node", "2")
    return forks.run(["run", *flags, *words], folder, {**os.environ, **environment})


def files(folder: Path) -> dict[str, str]:
    """Return what is in each file, by its name under the generation."""
    found = sorted((folder / "logs" / "job").glob("[0-9]*/*/*"))
    return {str(f.relative_to(folder / "logs" / "job")): f.read_text() for f in found}


def test_with_the_null_device_for_files_there_are_none(folder: Path) -> None:
    flags = ("--log-dir", "/dev/null", "-r", "3", "--duplicate-stdout-filters", "out")
    ended = run(folder, *flags, "worker.py", TMPDIR=str(folder))

    assert ended.returncode == 0, ended.stderr
    assert sorted(ended.stdout.splitlines()) == ["[0] out 0", "[1] out 1"]
    assert sorted(ended.stderr.splitlines()) == ["[0] err 0", "[1] err 1"]
    assert [path.name for path in folder.iterdir()] == ["worker.py"]


def test_failures_and_another_launch_of_a_run_lose_no_file(folder: Path) -> None:
    flags = ("--log-dir", "logs", "--rdzv-id", "job", "--max-restarts", "3")
    first = run(folder, *flags, "worker.py", "3")
    again = run(folder, *flags, "-r", "3", "worker.py")

    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    generations = ("1", "2", "3", "4", "1.1")
    assert files(folder) == {
        f"{generation}/{rank}/std{stream}.log": f"{stream} {rank}\n"
        for generation in generations
        for rank in (0, 1)
        for stream in ("out", "err")
    }
    assert (folder / "logs" / "job" / "latest").readlink() == Path("1.1")
    assert sorted(first.stdout.splitlines()) == ["[0] out 0"] * 4 + ["[1] out 1"] * 4
    assert again.stdout == ""


def test_one_rank_is_shown_and_another_fails(folder: Path) -> None:
    ended = run(folder, "--ranks-filter", "0", "worker.py", "1")

    assert ended.returncode == 7
    assert ended.stdout == "[0] out 0\n"
    assert "[1]" not in ended.stderr
    assert "err 1" in ended.stderr  # in the report
    assert "rank 1" in ended.stderr


def test_lines_begin_as_the_template_says(folder: Path) -> None:
    theirs = {"TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": "${role_name}-${rank}|"}
    by_variable = run(folder, "--role", "x", "worker.py", **theirs)
    flag = ("--log-line-prefix-template", "{rank}/{world_size} ")
    by_flag = run(folder, *flag, "worker.py", **theirs)

    assert sorted(by_variable.stdout.splitlines()) == ["x-0|out 0", "x-1|out 1"]
    assert sorted(by_flag.stdout.splitlines()) == ["0/2 out 0", "1/2 out 1"]


def test_a_directory_that_can_not_be_written_is_told_before_workers_start(
    folder: Path,
) -> None:
    (folder / "logs").touch()
    ended = run(folder, "--log-dir", "logs", "worker.py")

    assert ended.returncode == 5
    assert ended.stderr.startswith("elaunch: error: can't keep logs: ")
    assert "--log-dir" in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize("flag", ["--ranks-filter", "--debug-rank"])
def test_a_rank_that_no_worker_has_is_told(flag: str, folder: Path) -> None:
    words = ("--standalone", "--nproc-per-node", "2", flag, "2", "worker.py")
    ended = forks.run(["run", *words], folder)

    assert ended.returncode == 0
    told = f"{flag} names rank 2, and the last of this job is 1 now\n"
    assert ended.stderr.count(told) == 1


@pytest.mark.parametrize(
    ("ranks", "shown", "told"),
    [
        ("1-7", ["[1]"], 0),
        ("2,5", [], 1),
    ],
)
def test_a_filter_may_name_local_ranks_that_only_other_nodes_have(
    ranks: str, shown: list[str], told: int, folder: Path
) -> None:
    (folder / "hello.py").write_text("print('hello')")
    words = ("--nproc-per-node", "2", "--local-ranks-filter", ranks, "hello.py")
    ended = forks.run(["run", *words], folder)

    assert ended.returncode == 0, ended.stderr
    assert [line.split()[0] for line in ended.stdout.splitlines()] == shown
    assert ended.stderr.count("shows none of the 2 workers of this node\n") == told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--redirects", "7"), "--redirects: streams are 0 (none)"),
        (("--tee", "x"), "--tee: streams are 0 (none)"),
        (("--ranks-filter", "x"), "--ranks-filter: ranks are numbers"),
        (("--local-ranks-filter", "3-"), "--local-ranks-filter: ranks are numbers"),
        (("--log-max-bytes", "big"), "--log-max-bytes is a number of bytes"),
        (("--log-max-bytes", "1M"), "log_max_bytes is for files"),
        (("--log-backups", "5"), "log_backups is for files"),
        (("--log-retention", "5"), "log_retention is for files"),
        (("--log-dir", "d", "--log-backups", "5"), "give --log-max-bytes"),
        (("--tee", "2:3"), "tee names local rank 2"),
        (("--redirects", "0:3,7:3"), "redirects names local rank 7"),
        (("--preload-anyway",), "preload_anyway is for the start method 'warm'"),
        (("--log-layout", "defautl"), "did you mean 'default'?"),
        (("--logs-specs", "x", "--log-layout", "y"), "leave out one of them"),
        (("--log-layout", "logs-specs"), "named ''"),
    ],
)
def test_what_is_malformed_is_told(
    folder: Path, words: tuple[str, ...], told: str
) -> None:
    ended = run(folder, *words, "worker.py")

    assert ended.returncode in (2, 3)
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_sigkill_of_an_agent_loses_no_byte_of_a_file(folder: Path) -> None:
    code = """
import os, time
for n in range(10**9):
    os.write(1, b"line %d\\n" % n)
    time.sleep(0.0005)
"""
    (folder / "worker.py").write_text(code)
    flags = ("--log-dir", "logs", "--rdzv-id", "job", "-r", "3", "--log-timestamps")
    agent = subprocess.Popen(
        [sys.executable, "-m", "elaunch", "run", "--standalone", *flags, "worker.py"],
        cwd=folder,
        stderr=subprocess.DEVNULL,
    )
    try:
        file = folder / "logs" / "job" / "1" / "0" / "stdout.log"
        deadline = time.monotonic() + 20
        while not (file.exists() and file.stat().st_size > 2000):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(agent.pid, signal.SIGKILL)
        agent.wait()
    while any(_has_open(entry, file) for entry in Path("/proc").glob("[0-9]*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)

    text = file.read_text()
    numbers = [int(line.split()[2]) for line in text.splitlines()]
    assert text.endswith("\n")
    assert numbers == list(range(len(numbers)))


def _has_open(process: Path, file: Path) -> bool:
    try:
        return any(str(fd.readlink()) == str(file) for fd in (process / "fd").iterdir())
    except OSError:
        return False
