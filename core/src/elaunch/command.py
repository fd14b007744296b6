"""The command port: a subcommand of ``elaunch`` that a plugin adds."""

from collections.abc import Sequence
from typing import Protocol

import attrs

from elaunch.provider import Provider


class Command(Protocol):
    """Does what ``elaunch NAME`` asks for; it reads its own arguments."""

    def run(self, arguments: Sequence[str]) -> int:
        """Do it, in the main thread, and return the exit status.

        ``--help`` prints the usage on stdout.

        Args:
            arguments: What follows the name on the command line.

        Raises:
            elaunch.errors.UsageError: If an argument is unknown or wrong.
            elaunch.errors.ElaunchError: If it can't be done; shown as one message.
        """


@attrs.frozen
class CommandParameters:
    """What every command is built with.

    Attributes:
        prog: What users type to get it, for its usage: ``elaunch NAME``.
    """

    prog: str


CommandProvider = Provider[CommandParameters, Command]
