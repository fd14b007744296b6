"""`LaunchConfig` refuses what can't work, before anything starts."""

from typing import Any

import pytest

from elaunch import LaunchConfig, UsageError


def config(**changes: Any) -> LaunchConfig:
    return LaunchConfig(
        **{"min_nodes": 1, "max_nodes": 1, "nproc_per_node": 1, **changes}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_nodes": 0}, "nnodes must be N or MIN:MAX"),
        ({"min_nodes": 2}, "nnodes must be N or MIN:MAX"),
        ({"nproc_per_node": 0}, "nproc_per_node must be at least 1, not 0"),
        ({"max_restarts": -1}, "max_restarts must not be negative, not -1"),
        ({"shutdown_timeout": -1}, "shutdown_timeout must not be negative, not -1"),
        ({"numa_binding": "sockets"}, "not 'sockets'; did you mean 'socket'?"),
        ({"threads": 0}, "threads must be at least 1, not 0"),
        ({"threads": 1, "env": {"OMP_NUM_THREADS": "1"}}, "leave out one of them"),
        ({"env": {"RANK": "1"}}, "'RANK' is for elaunch to set"),
        ({"device_variables": ("X",)}, "device_variables are for virtual_local_rank"),
        ({"stop_signal": "KILL"}, "stop_signal can't be 'SIGKILL': no worker can"),
        ({"stop_signal": "none"}, "stop_signal must be a name like SIGTERM, not"),
        ({"notice_signal": "usr3"}, "not 'usr3'; did you mean 'SIGUSR"),
        ({"notice_signal": "SIGINT"}, "notice_signal can't be 'SIGINT': an agent ends"),
        ({"notice_signal": "SIGSTOP"}, "notice_signal can't be 'SIGSTOP'"),
        ({"stop_signal": "USR1"}, "must differ, both are 'USR1'"),
        ({"node_rank": 1}, "node_rank must be from 0 to 0, not 1"),
        ({"max_nodes": 2}, "the same --rdzv-endpoint"),
        ({"max_nodes": 2, "rdzv_endpoint": "h"}, "the same --rdzv-id"),
        ({"dump_stacks": -1}, "dump_stacks must be from 0 to shutdown_timeout"),
        ({"dump_stacks": 31}, "which is 30, not 31"),
    ],
)
def test_what_cant_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        config(**changes)

    assert isinstance(caught.value, ValueError)
    assert caught.value.status == 2


@pytest.mark.parametrize(
    ("notice", "stop"), [("usr2", "int"), ("SIGUSR2", "SIGINT"), ("NONE", "SIGUSR1")]
)
def test_signals_have_names_with_and_without_sig(notice: str, stop: str) -> None:
    assert config(notice_signal=notice, stop_signal=stop).stop_signal == stop


def test_evolve_validates_too() -> None:
    assert config().evolve(nproc_per_node=3).nproc_per_node == 3
    with pytest.raises(UsageError):
        config().evolve(nproc_per_node=0)


def test_values_of_the_environment_are_not_shown() -> None:
    assert "s3cret" not in repr(config(env={"KEY": "s3cret"}))
