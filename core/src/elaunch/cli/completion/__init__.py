"""``elaunch completion``: a script that lets a shell complete flags and commands."""

from collections.abc import Callable, Mapping

from elaunch.cli.completion.facts import Facts, gather
from elaunch.cli.completion.shells import bash, fish, zsh


SHELLS: Mapping[str, Callable[[Facts], str]] = {"bash": bash, "zsh": zsh, "fish": fish}


def show(shell: str) -> int:
    """Print the script for a shell and return the exit status."""
    print(SHELLS[shell](gather()))
    return 0


__all__ = ["SHELLS", "show"]
