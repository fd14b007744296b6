"""What every metric handler must do."""

import threading
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest

from elaunch.api import MetricData, MetricHandler


class MetricHandlerContract:
    """Inherit, override the two fixtures, and run.

    Attributes:
        keeps_metrics: Whether what was put can be read back.
    """

    keeps_metrics: ClassVar[bool] = True

    @pytest.fixture
    def handler(self) -> MetricHandler:
        """Return a new handler; must be overridden."""
        raise NotImplementedError("override the fixture 'handler'")

    @pytest.fixture
    def kept(self) -> Callable[[], Sequence[str]]:
        """Return what tells each kept metric as a text with its name and value.

        Must be overridden where ``keeps_metrics``.
        """
        raise NotImplementedError("override the fixture 'kept'")

    @pytest.fixture
    def checked(self, kept: Callable[[], Sequence[str]]) -> Callable[[], Sequence[str]]:
        """Like ``kept``, for the tests that can't do without it."""
        if not self.keeps_metrics:
            pytest.skip("this handler keeps nothing")
        return kept

    def test_metrics_are_kept_in_order(
        self, handler: MetricHandler, checked: Callable[[], Sequence[str]]
    ) -> None:
        """Each is there once, in the order in which they came."""
        for number in range(100):
            handler.emit(_data(f"metric-{number}-end", number))

        texts = checked()

        assert len(texts) == 100
        for number, text in enumerate(texts):
            assert f"metric-{number}-end" in text
            assert str(number) in text

    def test_numbers_of_any_kind_are_taken(self, handler: MetricHandler) -> None:
        """Whole numbers, fractions, none at all: nothing raises."""
        for value in (0, -1, 2**63, 0.5, float("inf")):
            handler.emit(_data("metric", value))

    def test_threads_may_emit_at_once(
        self, handler: MetricHandler, checked: Callable[[], Sequence[str]]
    ) -> None:
        """Nothing is lost when several threads emit."""

        def emit_many(who: int) -> None:
            for number in range(50):
                handler.emit(_data(f"metric-{who}-{number}-end", number))

        threads = [threading.Thread(target=emit_many, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        told = "\n".join(checked())

        for who in range(4):
            for number in range(50):
                assert told.count(f"metric-{who}-{number}-end") == 1


def _data(name: str, value: float) -> MetricData:
    return MetricData(1700000000.25, "torchelastic", name, value)
