"""What makes a run of ten thousand tests short before the first one begins."""

import gc
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings


APART = ("etcd", "interop")
"""Markers of tests that run by themselves."""


def pytest_configure() -> None:
    """Look for no garbage while tests are collected, which makes little of it.

    Nor is a busy machine a fault of what hypothesis tries.
    """
    gc.disable()
    slow = [HealthCheck.too_slow]
    settings.register_profile(
        "unhurried", settings(), deadline=None, suppress_health_check=slow
    )
    settings.load_profile("unhurried")


def pytest_collection_finish() -> None:
    """From now on look for it, but not among the tests themselves."""
    gc.freeze()
    gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out a file that never names the only marker that was asked for.

    To collect everything costs each worker of a run a dozen seconds.
    """
    asked = config.getoption("markexpr")
    if collection_path.suffix != ".py" or not re.fullmatch(r"\w+", asked):
        return None
    return None if _names(collection_path, asked) else True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """See that no test has such a marker from elsewhere: it would never run.

    Raises:
        UsageError: If one has.
    """
    for item in items:
        for marker in APART:
            if item.get_closest_marker(marker) and not _names(item.path, marker):
                raise pytest.UsageError(
                    f"{item.nodeid!r} is marked {marker!r} by another file; say "
                    f"'pytest.mark.{marker}' in its own"
                )


@cache
def _names(path: Path, marker: str) -> bool:
    return f"mark.{marker}" in path.read_text()
