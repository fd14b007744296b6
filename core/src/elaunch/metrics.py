"""Metrics: a number under a name in a group, given to whoever was configured for it.

The names are torchelastic's. Standard library only, so that workers can use it::

    configure(ConsoleMetricHandler(), group="my_app")
    put_metric("samples", 512, "my_app")
"""

import functools
import sys
import time
import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple, ParamSpec, Protocol, TypeVar, overload


GROUP = "torchelastic"
"""Group of metrics whose group nobody named, and of the agent's own."""

P = ParamSpec("P")
R = TypeVar("R")


class MetricData(NamedTuple):
    """One number.

    Attributes:
        timestamp: Unix time in seconds.
        group_name: Group of the metric.
        name: Its name.
        value: The number.
    """

    timestamp: float
    group_name: str
    name: str
    value: float


class MetricHandler(Protocol):
    """Takes metrics to some place. The port of the plugin kind "metric handler"."""

    @abstractmethod
    def emit(self, metric_data: MetricData) -> None:
        """Take one number, without blocking noticeably."""


class ConsoleMetricHandler(MetricHandler):
    """Prints each metric as a line on stdout."""

    def emit(self, metric_data: MetricData) -> None:
        """Print it."""
        when, group, name, value = metric_data
        # One write, so that threads don't tear each other's lines.
        sys.stdout.write(f"[{when}][{group}]: {name}={value}\n")
        sys.stdout.flush()


class NullMetricHandler(MetricHandler):
    """Keeps nothing."""

    def emit(self, metric_data: MetricData) -> None:
        """Drop it."""


class MetricStream:
    """One group's way to its handler.

    Attributes:
        group_name: The group.
        handler: Who takes its metrics.
    """

    def __init__(self, group_name: str, handler: MetricHandler) -> None:
        self.group_name = group_name
        self.handler = handler

    def add_value(self, metric_name: str, metric_value: float) -> None:
        """Give the handler one number, with the time."""
        data = MetricData(time.time(), self.group_name, metric_name, metric_value)
        self.handler.emit(data)


class MetricsConfig:
    """Which handler to use, as torchelastic passes it around.

    Attributes:
        params: Settings by key; ``handler`` names one as ``NAME[:key=value,...]``.
    """

    __slots__ = ("params",)

    def __init__(self, params: dict[str, str] | None = None) -> None:
        self.params = {} if params is None else params


_handlers: dict[str | None, MetricHandler] = {None: NullMetricHandler()}
"""Handler by group; under `None` that of all others."""


def configure(handler: MetricHandler, group: str | None = None) -> None:
    """Let a handler take the metrics of a group.

    Args:
        handler: The handler.
        group: The group; `None` for all that have no handler of their own.
    """
    _handlers[group] = handler


def getStream(group: str) -> MetricStream:  # noqa: N802 - torchelastic's name
    """Return the way to the handler of a group."""
    return MetricStream(group, _handlers.get(group, _handlers[None]))


def put_metric(
    metric_name: str, metric_value: float, metric_group: str = GROUP
) -> None:
    """Give one number to the handler of a group."""
    getStream(metric_group).add_value(metric_name, metric_value)


def get_elapsed_time_ms(start_time_in_seconds: float) -> int:
    """Return the whole milliseconds since a Unix time."""
    return int((time.time() - start_time_in_seconds) * 1000)


@overload
def prof(fn: Callable[P, R], group: str = GROUP) -> Callable[P, R]: ...


@overload
def prof(
    fn: None = None, group: str = GROUP
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def prof(
    fn: Callable[P, R] | None = None, group: str = GROUP
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """Measure each call of a function, as a decorator with or without arguments.

    A call puts ``NAME.success`` or, if it raises, ``NAME.failure``, which is 1, and
    ``NAME.duration.ms``. The name of a method is ``Class.method``, that of a function
    begins with the last word of its module.

    Args:
        fn: The function.
        group: Group of the metrics.
    """

    def measured(function: Callable[P, R]) -> Callable[P, R]:
        return _measured(function, _metric_name(function), group)

    return measured(fn) if fn else measured


def profile(group: str = GROUP) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Measure each call of a function under its bare name. Deprecated: use `prof`."""
    warnings.warn("profile is deprecated: use prof", FutureWarning, stacklevel=2)

    def measured(function: Callable[P, R]) -> Callable[P, R]:
        return _measured(function, function.__name__, group)

    return measured


def publish_metric(metric_group: str, metric_name: str, metric_value: float) -> None:
    """Give one number to the handler of a group. Deprecated: use `put_metric`."""
    warnings.warn(
        "publish_metric is deprecated: use put_metric", FutureWarning, stacklevel=2
    )
    put_metric(metric_name, metric_value, metric_group)


def _measured(function: Callable[P, R], name: str, group: str) -> Callable[P, R]:
    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        begin = time.monotonic()
        try:
            result = function(*args, **kwargs)
            put_metric(f"{name}.success", 1, group)
        except Exception:
            put_metric(f"{name}.failure", 1, group)
            raise
        finally:
            elapsed = int((time.monotonic() - begin) * 1000)
            put_metric(f"{name}.duration.ms", elapsed, group)
        return result

    return call


def _metric_name(function: Callable[..., object]) -> str:
    name = function.__qualname__
    if "." in name or not function.__module__:
        return name
    return f"{function.__module__.rpartition('.')[2]}.{name}"
