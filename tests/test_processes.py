"""`start_processes`: groups of real processes for programs that block."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from process_work import big, fail_first, times, vanish

from elaunch.elastic.multiprocessing import (
    DefaultLogsSpecs,
    PContext,
    RunProcsResult,
    Std,
    start_processes,
)


SOON = 60.0


def group(entrypoint: Any, args: list[tuple[Any, ...]], **more: Any) -> PContext:
    ranks = range(len(args))
    return start_processes(
        "g",
        entrypoint,
        dict(enumerate(args)),
        {rank: {"NUMBER": str(rank + 1)} for rank in ranks},
        more.pop("specs", None) or DefaultLogsSpecs(os.devnull),
        **more,
    )


def ended(context: PContext) -> RunProcsResult:
    result = context.wait(SOON)
    assert result is not None
    return result


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_functions_return_values_by_local_rank(method: str, tmp_path: Path) -> None:
    specs = DefaultLogsSpecs(str(tmp_path), redirects=Std.OUT)
    result = ended(group(times, [(2, "a"), (5, "b")], specs=specs, start_method=method))

    assert not result.is_failed()
    assert result.return_values == {0: 2, 1: 10}
    assert [Path(result.stdouts[r]).read_text() for r in (0, 1)] == ["a\n", "b\n"]
    assert result.stderrs == {0: "", 1: ""}


def test_programs_have_arguments_of_their_own(tmp_path: Path) -> None:
    specs = DefaultLogsSpecs(str(tmp_path), redirects=Std.ALL)
    names = "sorted(name for name in os.environ if 'ELAUNCH' in name)"
    code = f"import os, sys; print(sys.argv[1:], {names})"
    context = group(
        sys.executable,
        [("-c", code, "it's", "{rank}"), ("-c", code, "a b", '"')],
        specs=specs,
    )
    result = ended(context)

    assert result.return_values == {0: None, 1: None}
    said = [Path(result.stdouts[rank]).read_text() for rank in (0, 1)]
    assert said[0].startswith("[\"it's\", '{rank}']")
    assert said[1].startswith("['a b', '\"']")
    assert "_ELAUNCH" not in said[0]


def test_the_first_failure_ends_the_others(tmp_path: Path) -> None:
    context = group(fail_first, [("0",), ("1",)], specs=DefaultLogsSpecs(str(tmp_path)))
    pids = context.pids()
    result = ended(context)

    assert result.is_failed()
    assert result.failures[0].message == "ValueError: as planned"
    assert result.failures[0].exitcode == 1
    assert result.failures[1].signal_name() == "SIGTERM"
    assert all(is_gone(pid) for pid in pids.values())
    (kept,) = tmp_path.glob("*/attempt_0/0/error.json")
    assert "as planned" in kept.read_text()
    assert result.failures[0].error_file == str(kept)
    assert result.failures[1].error_file == ""


def test_exit_codes_of_programs_are_kept() -> None:
    words = [("-c", "exit 138"), ("-c", "exec sleep 100")]
    failures = ended(group("/bin/sh", words)).failures

    assert {rank: failure.exitcode for rank, failure in failures.items()} == {
        0: 138,
        1: -signal.SIGTERM,
    }


def test_a_value_may_be_large() -> None:
    assert len(ended(group(big, [(10_000_000,)])).return_values[0]) == 10_000_000


def test_a_function_that_ends_without_a_value_has_failed() -> None:
    failure = ended(group(vanish, [()])).failures[0]

    assert (failure.exitcode, failure.ending) == (0, "no-value")


def test_a_wait_can_be_a_look(tmp_path: Path) -> None:
    context = group("/bin/cat", [(str(_fifo(tmp_path)),)])

    assert context.wait(0) is None
    assert context.wait(0.05) is None
    context.close()
    assert is_gone(context.pids()[0])


def _fifo(folder: Path) -> Path:
    path = folder / "fifo"
    os.mkfifo(path)
    return path


def test_closing_ends_by_the_signal_that_was_asked_for(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        "def end(number, frame):\n    print(number, flush=True); sys.exit()\n"
        "signal.signal(signal.SIGINT, end)\nprint('ready', flush=True)\n"
        "signal.pause()"
    )
    specs = DefaultLogsSpecs(str(tmp_path), redirects=Std.OUT)
    context = group(sys.executable, [("-c", code)], specs=specs)
    log = Path(context.stdouts[0])
    until = time.monotonic() + SOON
    while "ready" not in log.read_text() and time.monotonic() < until:
        time.sleep(0.01)  # a file tells nobody
    context.close(signal.SIGINT, SOON)
    context.close()

    assert log.read_text() == f"ready\n{signal.SIGINT.value}\n"


def test_a_group_can_be_closed_while_others_wait_for_it(tmp_path: Path) -> None:
    context = group("/bin/cat", [(str(_fifo(tmp_path)),)])
    results: list[RunProcsResult] = []
    waiting = [
        threading.Thread(target=lambda: results.append(ended(context)), daemon=True)
        for _ in range(3)
    ]
    for thread in waiting:
        thread.start()
    context.close()
    for thread in waiting:
        thread.join(SOON)

    assert [result.failures[0].exitcode for result in results] == [-signal.SIGTERM] * 3


def test_groups_run_also_off_the_main_thread() -> None:
    results: list[RunProcsResult] = []
    thread = threading.Thread(
        target=lambda: results.append(ended(group(times, [(1, "")])))
    )
    thread.start()
    thread.join(SOON)

    assert results[0].return_values == {0: 1}


def test_filters_and_prefixes_choose_lines(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    specs = DefaultLogsSpecs(str(tmp_path), tee=Std.OUT)
    context = group(
        times,
        [(1, "loss 3"), (1, "other")],
        specs=specs,
        log_line_prefixes={0: "<0> "},
        duplicate_stdout_filters=["loss"],
    )
    ended(context)

    assert sorted(capfd.readouterr().out.splitlines()) == ["<0> loss 3", "[g1]:other"]
    assert Path(context.filtered_stdout).read_text() == "<0> loss 3\n"


@pytest.mark.parametrize(
    ("args", "envs"), [({0: (), 1: ()}, {0: {}}), ({1: ()}, {1: {}}), ({}, {})]
)
def test_local_ranks_must_match(args: Any, envs: Any) -> None:
    with pytest.raises(ValueError, match="are by local rank"):
        start_processes("g", times, args, envs, DefaultLogsSpecs(os.devnull))


def test_what_cant_be_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match="there is no program '/no/such'"):
        group("/no/such", [()])
    context = group("/bin/true", [()])
    with pytest.raises(ValueError, match="were started already"):
        context.start()
    assert ended(context).return_values == {0: None}
    fresh = PContext("g", times, {0: ()}, {0: {}}, DefaultLogsSpecs(os.devnull))
    with pytest.raises(ValueError, match="were not started"):
        fresh.wait(0)
    assert fresh.pids() == {}
