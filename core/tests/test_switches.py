"""Which monitors variables switch on."""

import pytest

from elaunch.launcher.switches import switched_on


STUCK = "TORCHELASTIC_UNINTERRUPTIBLE_STATE_TIMEOUT"
TIMER = "TORCHELASTIC_ENABLE_FILE_TIMER"


@pytest.mark.parametrize(
    ("environment", "monitors"),
    [
        ({}, []),
        ({TIMER: "1"}, ["timer"]),
        ({TIMER: "0"}, []),
        ({TIMER: "true"}, []),
        ({STUCK: "2.5"}, ["process:max_stuck=2.5"]),
        ({STUCK: " 3 "}, ["process:max_stuck=3"]),
        ({STUCK: "0"}, []),
        ({STUCK: "-1"}, []),
        ({STUCK: "long"}, []),
        ({STUCK: "inf"}, []),
        ({STUCK: "nan"}, []),
        ({STUCK: "1", TIMER: "1"}, ["timer", "process:max_stuck=1"]),
    ],
)
def test_variables_are_read_as_torchelastic_does(
    environment: dict[str, str], monitors: list[str]
) -> None:
    assert switched_on((), environment) == monitors


def test_a_flag_wins() -> None:
    environment = {STUCK: "1", TIMER: "1"}
    named = ("process:interval=1", "timer:path=/run/timers")

    assert switched_on(named, environment) == []
    assert switched_on(named[:1], environment) == ["timer"]
