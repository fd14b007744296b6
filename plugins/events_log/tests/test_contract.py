"""The recorders keep the contract of `elaunch.testing`."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from elaunch.api import EventRecorder, RecorderParameters
from elaunch.testing import PluginContract, RecorderContract
from elaunch_events_log.console import ConsoleRecorder
from elaunch_events_log.jsonl import open_jsonl
from elaunch_events_log.loggers import open_logging, open_torchelastic
from elaunch_events_log.null import NullRecorder
from elaunch_events_log.options import (
    JsonlOptions,
    LoggingOptions,
    TorchelasticOptions,
)


PARAMETERS = RecorderParameters("job", "agent")
RECORDERS = ("null", "console", "jsonl", "logging", "torchelastic")


class TestPlugin(PluginContract):
    entry_point = "events_log"
    backends = frozenset(
        {("command", "events"), *(("event recorder", name) for name in RECORDERS)}
    )
    heavy_modules = tuple(
        f"elaunch_events_log.{name}"
        for name in (
            *("null", "console", "jsonl", "loggers", "background", "formats"),
            *("command", "reading", "story"),
        )
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


class FileContract(RecorderContract):
    options: ClassVar[dict[str, float]] = {}

    @pytest.fixture
    def recorder(self, tmp_path: Path) -> Iterator[EventRecorder]:
        path = str(tmp_path / "events.jsonl")
        recorder = open_jsonl(JsonlOptions(path=path, **self.options), PARAMETERS)  # type: ignore[arg-type] # of any option
        yield recorder
        recorder.close()

    @pytest.fixture
    def kept(self, tmp_path: Path) -> Callable[[], Sequence[str]]:
        def lines() -> list[str]:
            names = ["events.jsonl", *(f"events.jsonl.{n}" for n in range(1, 1000))]
            files = [tmp_path / name for name in names]
            found = [f.read_text().splitlines() for f in files if f.exists()]
            return [line for lines in reversed(found) for line in lines]

        return lines


class TestJsonlRecorder(FileContract):
    """As it is by default."""


class TestRotatedJsonlRecorder(FileContract):
    options: ClassVar[dict[str, float]] = {"max_bytes": 4096, "backups": 999}


class TestSyncedJsonlRecorder(FileContract):
    options: ClassVar[dict[str, float]] = {"sync": True, "flush": 0.05}


class TestLoggingRecorder(RecorderContract):
    @pytest.fixture
    def recorder(self) -> EventRecorder:
        options = LoggingOptions(logger="test.contract", level="WARNING")
        return open_logging(options, PARAMETERS)

    @pytest.fixture
    def kept(self, caplog: pytest.LogCaptureFixture) -> Callable[[], Sequence[str]]:
        def lines() -> list[str]:
            mine = [r for r in caplog.records if r.name == "test.contract"]
            assert {r.levelno for r in mine} <= {logging.WARNING}
            return [r.getMessage() for r in mine]

        return lines


class TestTorchelasticRecorder(RecorderContract):
    keeps_events = False  # not those that torchelastic does not know

    @pytest.fixture
    def recorder(self) -> EventRecorder:
        return open_torchelastic(TorchelasticOptions(), PARAMETERS)

    @pytest.fixture
    def kept(self) -> Callable[[], Sequence[str]]:
        return list
