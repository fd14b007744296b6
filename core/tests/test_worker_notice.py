"""What a worker hears of a notice."""

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from elaunch import worker
from elaunch.errors import PREEMPTED_EXIT
from elaunch.notice import Notice, NoticeKind
from elaunch.worker.notice_file import NOTICE_FILE


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "notice.json"
    monkeypatch.setenv(NOTICE_FILE, str(path))
    return path


def told(**changes: Any) -> dict[str, Any]:
    notice = Notice(
        kind=NoticeKind.PREEMPTION, reason="SIGUSR1", host="h", timestamp=1.5
    )
    return attrs.asdict(attrs.evolve(notice, **changes))


def test_without_a_notice_there_is_none(file: Path) -> None:
    assert not file.exists()
    assert worker.notice() is None


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_launcher_there_is_none(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv(NOTICE_FILE, raising=False)
    if value is not None:
        monkeypatch.setenv(NOTICE_FILE, value)

    assert worker.notice() is None


def test_it_tells_all_that_the_launcher_does(file: Path) -> None:
    file.write_text(json.dumps(told(grace=30.0)))

    assert worker.notice() == worker.Notice("preemption", "SIGUSR1", "h", 1.5, 30.0)


def test_the_last_one_counts(file: Path) -> None:
    file.write_text(json.dumps(told()))
    first = worker.notice()
    file.write_text(json.dumps(told(kind=NoticeKind.STOP)))
    second = worker.notice()

    assert first is not None
    assert second is not None
    assert (first.kind, second.kind) == ("preemption", "stop")


def test_what_a_later_version_adds_does_no_harm(file: Path) -> None:
    file.write_text(json.dumps({**told(), "more": 1}))

    assert worker.notice() is not None


def test_it_is_the_launchers_exit_code() -> None:
    assert worker.PREEMPTED == PREEMPTED_EXIT
