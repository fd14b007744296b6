"""What makes a run of ten thousand tests short before the first one begins."""

import gc
import re
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """Look for no garbage while tests are collected, which makes little of it."""
    gc.disable()


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
    return None if f"mark.{asked}" in collection_path.read_text() else True
