"""The recorders keep the contract of `elaunch.testing`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from elaunch.api import EventRecorder
from elaunch.testing import PluginContract, RecorderContract
from elaunch_events_log.console import ConsoleRecorder
from elaunch_events_log.jsonl import open_jsonl
from elaunch_events_log.null import NullRecorder


class TestPlugin(PluginContract):
    entry_point = "events_log"
    backends = frozenset(
        ("event recorder", name) for name in ("null", "console", "jsonl")
    )
    heavy_modules = tuple(
        f"elaunch_events_log.{name}" for name in ("null", "console", "jsonl")
    )


class TestNullRecorder(RecorderContract):
    keeps_events = False

    @pytest.fixture
    def recorder(self) -> EventRecorder:
        return NullRecorder()

    @pytest.fixture
    def kept(self) -> Callable[[], Sequence[str]]:
        return list


class TestConsoleRecorder(RecorderContract):
    @pytest.fixture
    def recorder(self) -> EventRecorder:
        return ConsoleRecorder()

    @pytest.fixture
    def kept(self, capsys: pytest.CaptureFixture[str]) -> Callable[[], Sequence[str]]:
        def lines() -> list[str]:
            return capsys.readouterr().err.splitlines()

        return lines


class TestJsonlRecorder(RecorderContract):
    @pytest.fixture
    def recorder(self, tmp_path: Path) -> Iterator[EventRecorder]:
        recorder = open_jsonl(str(tmp_path / "events.jsonl"), "job")
        yield recorder
        recorder.close()

    @pytest.fixture
    def kept(self, tmp_path: Path) -> Callable[[], Sequence[str]]:
        return lambda: (tmp_path / "events.jsonl").read_text().splitlines()
