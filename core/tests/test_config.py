"""`LaunchConfig` refuses what can't work, before anything starts."""

from typing import Any

import attrs
import pytest

from elaunch import LaunchConfig, UsageError
from elaunch.binding import NumaBinding
from elaunch.config.checks import SHUTDOWN_TIMEOUT


TORCHS_FIELDS = """
min_nodes max_nodes nproc_per_node logs_specs run_id role rdzv_endpoint rdzv_backend
rdzv_configs rdzv_timeout max_restarts monitor_interval start_method
log_line_prefix_template metrics_cfg local_addr event_log_handler numa_options
signals_to_handle duplicate_stdout_filters duplicate_stderr_filters virtual_local_rank
shutdown_timeout
"""
"""Those of 2.13."""


class Specs:
    """Logs specs as `LaunchConfig` looks at them."""

    def reify(self, envs: dict[int, dict[str, str]]) -> None: ...


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
        ({"health_check": "node:eighty"}, "health_check: a place is HOST:PORT"),
        ({"nproc_per_node": "4"}, "nproc_per_node must be a whole number, not '4'"),
        ({"max_nodes": 2, "rdzv_endpoint": "a:1"}, "1:2 nodes need a common name"),
        ({"min_nodes": 2, "max_nodes": 2}, "nodes of a job of 2 nodes need a place"),
        ({"max_restarts": -1}, "max_restarts must not be negative, not -1"),
        ({"shutdown_timeout": -1}, "shutdown_timeout must not be negative, not -1"),
        ({"exit_barrier_timeout": -1}, "exit_barrier_timeout must not be negative"),
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
        ({"max_nodes": 2, "rdzv_endpoint": "h"}, "the same run_id"),
        ({"rdzv_timeout": 0}, "rdzv_timeout must be greater than 0, or -1"),
        ({"monitor_interval": 0}, "monitor_interval must be greater than 0, not 0"),
        ({"event_log_handler": ""}, "event_log_handler must not be empty"),
        ({"numa_options": "sockets"}, "affinity_mode of numa_options must be one of"),
        (
            {"numa_options": "socket", "numa_binding": "node"},
            "numa_binding is 'node' and numa_options say 'socket'",
        ),
        ({"logs_specs": 3}, "or an object with a method 'reify', not 3"),
        ({"logs_specs": Specs(), "tee": "3"}, "has its own tee; give it to that"),
        ({"logs_specs": "a", "log_layout": "b"}, "'a' replaces log_layout 'b'"),
        ({"dump_stacks": -1}, "dump_stacks must be from 0 to shutdown_timeout"),
        ({"dump_stacks": 31}, "which is 30, not 31"),
    ],
)
def test_what_cant_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        config(**changes)

    assert isinstance(caught.value, ValueError)
    assert caught.value.status == 2


@pytest.mark.parametrize("name", ["shutdown_timeout", "exit_barrier_timeout"])
def test_no_time_at_all_is_allowed(name: str) -> None:
    assert getattr(config(**{name: 0}), name) == 0


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


def test_fields_come_in_torchelastics_order_with_its_defaults() -> None:
    names = TORCHS_FIELDS.split()
    fields = [field.name for field in attrs.fields(LaunchConfig)]

    assert fields[: len(names)] == names
    assert LaunchConfig(1, 1, 2).nproc_per_node == 2
    defaults = LaunchConfig(1, 1, 1)
    assert defaults.role == "default_role"
    assert defaults.max_restarts == 3
    assert defaults.monitor_interval == 0.1
    assert defaults.start_method == "spawn"
    assert defaults.rdzv_timeout == -1
    assert defaults.event_log_handler == "null"


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config().role = "x"  # type: ignore[misc] # which is what is tested


def test_the_legacy_timeout_replaces_the_option() -> None:
    given = {"timeout": 900, "rank": 0}

    assert config(rdzv_configs=given).rendezvous_options == given
    assert config(rdzv_configs=given, rdzv_timeout=5).rendezvous_options == {
        "timeout": 5,
        "rank": 0,
    }


def test_an_event_log_handler_is_one_more_recorder() -> None:
    given = config(event_recorders=("jsonl",), event_log_handler="logging:level=debug")

    assert given.all_event_recorders == ("jsonl", "logging:level=debug")
    assert config(event_log_handler="null").all_event_recorders == ()


@pytest.mark.parametrize("name", ["console", "dynamic_rendezvous"])
def test_torchelastics_event_log_handlers_are_torchelastics(name: str) -> None:
    recorders = config(event_log_handler=name).all_event_recorders

    assert recorders == (f"torchelastic:destination={name}",)


@attrs.frozen
class NumaOptions:
    affinity_mode: Any


def test_numa_options_are_another_way_to_bind() -> None:
    for options in (NumaOptions("socket"), NumaOptions(NumaBinding.SOCKET), "socket"):
        mode = config(numa_options=options).binding_settings.mode
        assert mode is NumaBinding.SOCKET
    both = config(numa_options=NumaOptions("node"), numa_binding="node")
    assert both.binding_settings.mode is NumaBinding.NODE


def test_filters_may_be_lists_or_nothing() -> None:
    given = config(duplicate_stdout_filters=["a"], duplicate_stderr_filters=None)

    assert given.duplicate_stdout_filters == ("a",)
    assert given.duplicate_stderr_filters == ()


def test_the_time_to_stop_is_given_or_the_environments_or_thirty_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(SHUTDOWN_TIMEOUT, raising=False)
    assert config().shutdown_timeout == 30
    monkeypatch.setenv(SHUTDOWN_TIMEOUT, "7.5")
    assert config(shutdown_timeout=None).shutdown_timeout == 7.5
    assert config(shutdown_timeout=0).shutdown_timeout == 0
    for text in ("-1", "soon", "inf"):
        monkeypatch.setenv(SHUTDOWN_TIMEOUT, text)
        with pytest.raises(UsageError, match=f"not negative, not '{text}'"):
            config()
        assert config(shutdown_timeout=2).shutdown_timeout == 2
