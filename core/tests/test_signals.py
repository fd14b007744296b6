"""Which signals an agent handles, as their names say."""

import signal

import pytest

from elaunch.errors import UsageError
from elaunch.signals import END_SIGNALS, AgentSignals, agent_signals, end_signals


def test_by_default_they_are_torchelastics_and_the_one_of_a_notice() -> None:
    told = agent_signals("SIGTERM,SIGINT,SIGHUP,SIGQUIT", "SIGUSR1")

    assert told == AgentSignals(END_SIGNALS, signal.SIGUSR1) == AgentSignals()


@pytest.mark.parametrize(
    ("names", "signals"),
    [
        ("SIGTERM", (signal.SIGTERM,)),
        (" sigusr2 , int ", (signal.SIGUSR2, signal.SIGINT)),
        ("SIGTERM,SIGTERM,", (signal.SIGTERM,)),
        ("", ()),
    ],
)
def test_names_are_read(names: str, signals: tuple[int, ...]) -> None:
    assert end_signals(names) == signals


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("SIGTREM", "names like SIGTERM,SIGINT, not 'SIGTREM'; did you mean 'SIGTERM'"),
        ("SIGKILL", "can't have 'SIGKILL': no agent can handle it"),
        ("SIGTERM,CHLD", "can't have 'SIGCHLD'"),
    ],
)
def test_what_can_be_no_end_is_refused(names: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        end_signals(names)


def test_what_ends_an_agent_announces_nothing() -> None:
    assert agent_signals("SIGUSR1", "SIGUSR1").notice is None


def test_what_is_asked_to_mean_both_is_refused() -> None:
    with pytest.raises(UsageError, match="'USR2' is both in signals_to_handle"):
        agent_signals("SIGTERM,SIGUSR2", "USR2")
