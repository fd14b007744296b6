"""Metrics: who takes them, and what a measured function puts."""

import time
from collections.abc import Callable, Sequence

import pytest

from elaunch import metrics
from elaunch.api import MetricData, MetricHandler
from elaunch.errors import UnknownBackend, UsageError
from elaunch.launcher.metrics import initialize_metrics
from elaunch.metrics import (
    ConsoleMetricHandler,
    MetricsConfig,
    NullMetricHandler,
    configure,
    getStream,
    prof,
    put_metric,
)
from elaunch.testing import MetricHandlerContract


class Keeper(MetricHandler):
    def __init__(self) -> None:
        self.kept: list[MetricData] = []

    def emit(self, metric_data: MetricData) -> None:
        self.kept.append(metric_data)

    @property
    def values(self) -> dict[str, float]:
        return {data.name: data.value for data in self.kept}

    @property
    def names(self) -> list[str]:
        return [data.name for data in self.kept]


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_handlers", dict(metrics._handlers))


@pytest.fixture
def keeper() -> Keeper:
    keeper = Keeper()
    configure(keeper, "torchelastic")
    return keeper


class TestConsole(MetricHandlerContract):
    @pytest.fixture
    def handler(self) -> MetricHandler:
        return ConsoleMetricHandler()

    @pytest.fixture
    def kept(self, capsys: pytest.CaptureFixture[str]) -> Callable[[], Sequence[str]]:
        def lines() -> list[str]:
            return capsys.readouterr().out.splitlines()

        return lines


class TestNull(MetricHandlerContract):
    keeps_metrics = False

    @pytest.fixture
    def handler(self) -> MetricHandler:
        return NullMetricHandler()

    @pytest.fixture
    def kept(self) -> Callable[[], Sequence[str]]:
        return list


def test_nobody_takes_metrics_until_somebody_is_configured() -> None:
    assert isinstance(getStream("torchelastic").handler, NullMetricHandler)


def test_a_metric_has_time_group_name_and_value(keeper: Keeper) -> None:
    put_metric("samples", 512)

    (data,) = keeper.kept
    assert data[1:] == ("torchelastic", "samples", 512)
    assert data.timestamp > 1.7e9


def test_a_group_without_a_handler_uses_the_default_one(keeper: Keeper) -> None:
    default = Keeper()
    configure(default)
    put_metric("a", 1)
    put_metric("b", 2, "my_app")
    getStream("my_app").add_value("c", 3)

    assert keeper.names == ["a"]
    assert default.values == {"b": 2, "c": 3}
    assert {data.group_name for data in default.kept} == {"my_app"}


def test_the_console_shows_torchelastics_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ConsoleMetricHandler().emit(MetricData(1.5, "group", "name", 7))

    assert capsys.readouterr().out == "[1.5][group]: name=7\n"


@prof
def plain() -> int:
    return 3


class Owner:
    @prof
    def method(self) -> str:
        """What it does."""
        return "done"

    @prof(group="other")
    def raises(self) -> None:
        raise KeyError("x")


class Heir(Owner):
    pass


def test_a_function_is_named_after_the_last_word_of_its_module(keeper: Keeper) -> None:
    assert plain() == 3
    assert keeper.names == [
        "test_metrics.plain.success",
        "test_metrics.plain.duration.ms",
    ]
    assert keeper.values["test_metrics.plain.success"] == 1


def test_a_method_is_named_after_the_class_that_defines_it(keeper: Keeper) -> None:
    assert Heir().method() == "done"
    assert keeper.names == ["Owner.method.success", "Owner.method.duration.ms"]
    assert Owner.method.__doc__ == "What it does."


def test_a_failure_is_put_in_the_group_that_was_named(keeper: Keeper) -> None:
    other = Keeper()
    configure(other, "other")
    with pytest.raises(KeyError):
        Owner().raises()

    assert keeper.kept == []
    assert other.names == ["Owner.raises.failure", "Owner.raises.duration.ms"]


def test_an_interrupt_is_neither_success_nor_failure(keeper: Keeper) -> None:
    @prof
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    (name,) = keeper.names
    assert name.endswith(".interrupted.duration.ms")


def test_the_old_names_work_and_say_that_they_are_old(keeper: Keeper) -> None:
    with pytest.warns(FutureWarning, match="use prof"):

        @metrics.profile("torchelastic")
        def old() -> None:
            """Do nothing."""

    old()
    with pytest.warns(FutureWarning, match="use put_metric"):
        metrics.publish_metric("torchelastic", "value", 5)

    assert keeper.names == ["old.success", "old.duration.ms", "value"]


def test_elapsed_milliseconds_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 12.3456)

    assert metrics.get_elapsed_time_ms(10.0) == 2345


def test_a_configuration_names_the_handler_of_the_process() -> None:
    before = getStream("whatever").handler
    initialize_metrics()
    initialize_metrics(MetricsConfig())
    assert getStream("whatever").handler is before

    initialize_metrics(MetricsConfig({"handler": "console"}))
    assert isinstance(getStream("whatever").handler, ConsoleMetricHandler)


def test_unknown_handlers_and_settings_are_told() -> None:
    with pytest.raises(UnknownBackend, match="'consol'"):
        initialize_metrics(MetricsConfig({"handler": "consol"}))
    with pytest.raises(UsageError, match=r"no setting 'handlr'.*'handler'"):
        initialize_metrics(MetricsConfig({"handlr": "console"}))
