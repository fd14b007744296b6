"""The help is readable where terminals are narrow, and tells of every flag."""

import subprocess
import sys

import pytest

from elaunch.cli.actions import actions_of, flag_of
from elaunch.cli.parser import OWN, build_parsers


def help_of(*command: str, columns: int = 80) -> list[str]:
    shown = subprocess.run(
        [sys.executable, "-m", "elaunch", *command, "--help"],
        env={"COLUMNS": str(columns)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert shown.stderr == ""
    return shown.stdout.splitlines()


@pytest.mark.parametrize("command", [(), *((name,) for name in OWN)], ids=" ".join)
def test_no_line_of_the_help_is_longer_than_a_terminal(
    command: tuple[str, ...],
) -> None:
    assert [line for line in help_of(*command) if len(line) > 80] == []


@pytest.mark.parametrize("name", OWN)
def test_every_flag_is_told_of_once_and_explained(name: str) -> None:
    lines = help_of(name)
    for action in actions_of(build_parsers()[1][name]):
        if action.option_strings:
            flag = flag_of(action)
            # What it does stands two spaces behind it, or on the next line.
            heads = [s.strip().split("  ")[0] for s in lines if s.startswith("  -")]
            shown = [h for h in heads if flag in h.replace(",", " ").split()]
            assert len(shown) == 1, flag
            assert action.help, flag


def test_spellings_with_underscores_are_not_shown() -> None:
    flags = [line.split()[0] for line in help_of("run") if line.startswith("  -")]

    assert [flag for flag in flags if "_" in flag] == []


def test_flags_stand_in_groups() -> None:
    heads = [line for line in help_of("run") if line.endswith(":") and line[0] != " "]

    assert heads == [
        "options:",
        "size of the job:",
        "where nodes meet:",
        "how workers start:",
        "when something fails:",
        "place and environment of workers:",
        "workers' output:",
        "backends:",
        "what to run:",
        "settings:",
        "what it says:",
    ]
