"""What workers do that launch jobs of their own; light, as each of them imports it."""

import os
from pathlib import Path
from typing import Any

import elaunch  # what it has is imported when it is asked for


def config(workers: int = 2, **changes: Any) -> "elaunch.LaunchConfig":
    one_node = {"min_nodes": 1, "max_nodes": 1, "nproc_per_node": workers}
    return elaunch.LaunchConfig(**{**one_node, "max_restarts": 0, **changes})


def place(base: int) -> tuple[int, str]:
    return base + int(os.environ["RANK"]), os.environ["WORLD_SIZE"]


def launch_inner(workers: int) -> dict[int, Any]:
    return elaunch.elastic_launch(config(workers), place)(100 * int(os.environ["RANK"]))


def refuse(rank: str) -> None:
    if os.environ["RANK"] == rank:
        raise ArithmeticError("the inner one refused")


def launch_refusing() -> None:
    if os.environ["RANK"] == "1":
        elaunch.elastic_launch(config(3), refuse)("2")


def refuse_once(flag: str) -> str:
    path = Path(flag)
    if not path.exists():
        path.touch()
        raise ArithmeticError("the inner one refused")
    return os.environ["TORCHELASTIC_RESTART_COUNT"]


def launch_refusing_once(flag: str) -> tuple[str, dict[int, Any]]:
    inner = elaunch.elastic_launch(config(1), refuse_once)(flag)
    return os.environ["TORCHELASTIC_RESTART_COUNT"], inner
