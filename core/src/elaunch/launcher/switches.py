"""Monitors that nobody names: those of every run, and of torchelastic's variables."""

import math
from collections.abc import Mapping, Sequence

from elaunch.options import parse_spec


HEALTH_CHECK_PORT = "TORCHELASTIC_HEALTH_CHECK_PORT"

VARIABLES: Mapping[str, str] = {
    "TORCHELASTIC_ENABLE_FILE_TIMER": "1 is `--monitor timer`",
    "TORCHELASTIC_TIMER_FILE": (
        "where the pipe of the monitor `timer` is made; workers get the path"
    ),
    "TORCHELASTIC_UNINTERRUPTIBLE_STATE_TIMEOUT": (
        "seconds, as `--monitor process:max_stuck=SECONDS`; "
        "that flag wins, and what is no number above 0 is nothing"
    ),
    HEALTH_CHECK_PORT: (
        "port of 127.0.0.1, or `HOST:PORT`, as `--health-check`, which wins; "
        "what is neither is logged, and nothing"
    ),
}
"""What the agent reads of its environment about watching workers, and itself."""


def switched_on(monitors: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Return the monitors that the environment adds to those that are named.

    Args:
        monitors: Those that are named, as ``NAME[:key=value,...]``.
        environment: The agent's environment.
    """
    named = _names(monitors)
    found = {}
    if environment.get("TORCHELASTIC_ENABLE_FILE_TIMER") == "1":
        found["timer"] = "timer"
    stuck = environment.get("TORCHELASTIC_UNINTERRUPTIBLE_STATE_TIMEOUT", "")
    if _is_positive(stuck):
        found["process"] = f"process:max_stuck={stuck.strip()}"
    return [spec for name, spec in found.items() if name not in named]


def always_on(monitors: Sequence[str]) -> list[str]:
    """Return the monitors that every run has, but for those that are named.

    What a worker itself wants to be limited is limited, whatever the command says.
    """
    return [name for name in ("sections",) if name not in _names(monitors)]


def _names(monitors: Sequence[str]) -> set[str]:
    return {parse_spec(spec, "--monitor")[0] for spec in monitors}


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
