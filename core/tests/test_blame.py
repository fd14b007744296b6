"""Whoever set what an error complains of is named, wherever that was."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from elaunch.cli.blame import sources_of
from elaunch.cli.run import config_of, entry_of
from elaunch.cli.settings import resolve
from elaunch.errors import ElaunchError
from elaunch.launcher.plan import plan


NODES = {"ELAUNCH_NNODES": "2", "ELAUNCH_RDZV_ID": "j", "ELAUNCH_RDZV_ENDPOINT": "h:1"}

WRONG: Mapping[str, tuple[str, ...]] = {
    "NNODES": ("x", "0", "2:1", "9" * 5000),
    "NPROC_PER_NODE": ("x", "0", "-1", "9" * 5000),
    "RDZV_BACKEND": ("x", "c"),
    "RDZV_ENDPOINT": ("a:b:c",),
    "MASTER_ADDR": ("h:1", ""),
    "MASTER_PORT": ("x", "-7", "65536"),
    "RDZV_ID": ("a/b",),
    "RDZV_CONF": ("x", "a:b=c", "join_timeout=x"),
    "NODE_RANK": ("x",),
    "START_METHOD": ("x",),
    "MAX_RESTARTS": ("x", "-1"),
    "SHUTDOWN_TIMEOUT": ("x", "-1", "nan"),
    "EXIT_BARRIER_TIMEOUT": ("x", "-1", "nan"),
    "STOP_SIGNAL": ("x", ""),
    "SIGNALS_TO_HANDLE": ("x", "SIGKILL"),
    "NOTICE_SIGNAL": ("x", "SIGTERM"),
    "RESTART_POLICY": ("x", "", "x:a=1"),
    "DUMP_STACKS": ("x", "-1", "31"),
    "HEALTH_CHECK": ("x", "1:2:3"),
    "NUMA_BINDING": ("x",),
    "THREADS": ("x", "0"),
    "ENV": ("x",),
    "DEVICE_VARIABLE": ("X",),
    "REDIRECTS": ("x", "5:1"),
    "TEE": ("x", "5:1"),
    "RANKS_FILTER": ("x", "9" * 5000),
    "LOCAL_RANKS_FILTER": ("x",),
    "DEBUG_RANK": ("x", "-1"),
    "LOG_MAX_BYTES": ("x", "9" * 5000),
    "LOG_BACKUPS": ("x", "-1", "7"),
    "LOG_RETENTION": ("x", "-1"),
    "LOG_LAYOUT": ("x", ""),
    "SPAWNER": ("x", "", "local:a=1"),
    "BOOTSTRAP": ("x", "", "=,"),
    "MONITOR": ("x", "timer:a=1"),
    "MONITOR_INTERVAL": ("x", "0", "nan"),
    "EVENT_RECORDER": ("x", "jsonl:a=1"),
    "EVENT_LOG_HANDLER": ("x", ""),
    "METRICS": ("x", "console:a=1"),
    "MODULE": ("x",),
    "CONFIG": ("no/such.toml",),
}
"""Variables of settings, and what they can't be."""


@pytest.mark.parametrize(
    ("variable", "value"),
    [(f"ELAUNCH_{name}", text) for name, texts in WRONG.items() for text in texts],
    ids=lambda text: text[:30],
)
def test_a_wrong_variable_is_named(
    variable: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {variable: value}
    try:
        resolved = resolve([__file__], environment)
    except ElaunchError as error:
        assert variable in str(error)  # noqa: PT017 - it depends on the setting who raises
        return
    with pytest.raises(ElaunchError) as caught:
        plan(config_of(resolved), entry_of(resolved.args, environment))

    message = str(caught.value)
    assert variable in message or sources_of(message, resolved) == [variable]


@pytest.mark.parametrize(
    ("message", "environment", "sources"),
    [
        ("use -m for a module", {"PET_MODULE": "1"}, []),
        ("nodes need a common name", {"PET_ROLE": "common"}, []),
        ("no spawner is named 'x'\n  installed: 'y'", {"ELAUNCH_BOOTSTRAP": "y"}, []),
        ("max_restarts is 1", {}, []),
        ("PET_NNODES is wrong", {"PET_NNODES": "wrong"}, []),
        ("'h:1' is no endpoint", NODES, ["ELAUNCH_RDZV_ENDPOINT"]),
        ("nnodes and rdzv_id", NODES, ["ELAUNCH_NNODES", "ELAUNCH_RDZV_ID"]),
    ],
)
def test_nobody_else_is_named(
    message: str, environment: Mapping[str, str], sources: list[str]
) -> None:
    assert sources_of(message, resolve(["x.py"], environment)) == sources
