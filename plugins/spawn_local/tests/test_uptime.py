"""How long a worker ran: up to its error, not to the end of its clean-up."""

import os
from pathlib import Path

import pytest

from elaunch.api import WorkerRanks, WorkerSpec
from elaunch.worker import record
from elaunch_spawn_local.ends import Seen, end_of
from elaunch_spawn_local.oom import OutOfMemory
from elaunch_spawn_local.worker import Worker


def worker(error_file: Path) -> Worker:
    ranks = WorkerRanks(local_rank=0, rank=0, role_rank=0)
    spec = WorkerSpec(ranks=ranks, environment={}, role="r")
    beside = error_file.parent
    one = Worker(spec, error_file, beside / "notice", beside / "stacks", None)
    one.status = 1 << 8
    return one


def test_clean_up_after_the_error_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", os.fspath(path))

    @record
    def fails() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fails()
    one = worker(path)
    late = Seen(time=2e9, uptime=100.0, stderr_tail=())
    failed = end_of(one, late, OutOfMemory(None))

    assert failed.message == "ValueError: boom"
    assert failed.timestamp < 2e9
    assert failed.uptime == 0.0
    soon = Seen(time=failed.timestamp + 40, uptime=100.0, stderr_tail=())
    assert end_of(one, soon, OutOfMemory(None)).uptime == pytest.approx(60.0)


def test_an_end_without_an_error_counts_as_it_was_seen(tmp_path: Path) -> None:
    seen = Seen(time=5.0, uptime=3.0, stderr_tail=())

    assert end_of(worker(tmp_path / "none"), seen, OutOfMemory(None)).uptime == 3.0
