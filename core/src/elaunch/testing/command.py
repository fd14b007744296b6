"""What every subcommand must do."""

import subprocess
import sys

import pytest


class CommandContract:
    """Inherit from it in a class named ``Test...`` and set the attribute.

    Attributes:
        command: Name of the subcommand.
    """

    command: str = ""

    def test_help_is_printed_and_no_error(self) -> None:
        """``--help`` tells on stdout how to use it, and does nothing else."""
        ended = self._run("--help")

        assert ended.returncode == 0
        assert ended.stdout.startswith(f"usage: elaunch {self.command} ")
        assert ended.stderr == ""

    @pytest.mark.parametrize("word", ["--no-such-flag", "no-such-argument"])
    def test_what_it_does_not_know_is_told(self, word: str) -> None:
        """An unknown argument is an error that names it, and nothing is begun."""
        ended = self._run(word)

        assert ended.returncode == 2
        assert ended.stdout == ""
        assert ended.stderr.startswith("elaunch: error: ")
        assert word in ended.stderr

    def _run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "elaunch", self.command, *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
