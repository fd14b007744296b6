"""Spares a run that asks for one marker the tests of all other files."""

import re
from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out a file that never names the only marker that was asked for.

    To collect everything costs each worker of a run a dozen seconds.
    """
    asked = config.getoption("markexpr")
    if collection_path.suffix != ".py" or not re.fullmatch(r"\w+", asked):
        return None
    return None if f"mark.{asked}" in collection_path.read_text() else True
