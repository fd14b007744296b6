"""Subcommands that plugins add. The plugins are loaded only when one is asked for."""

from collections.abc import Sequence
from pathlib import Path

import attrs

from elaunch.api import CommandParameters
from elaunch.cli.parser import OWN
from elaunch.errors import UnknownBackend
from elaunch.plugins import load_plugins


def run_contributed(name: str, arguments: Sequence[str]) -> int:
    """Run a subcommand of a plugin and return its exit status.

    Raises:
        UnknownBackend: If no plugin provides it; tells which there are.
        ElaunchError: Whatever the subcommand raises.
    """
    commands = load_plugins().commands
    try:
        command = commands.create(name, CommandParameters(f"elaunch {name}"), {})
    except UnknownBackend as error:
        installed = sorted({*error.installed, *OWN})
        script = name.endswith(".py") or Path(name).is_file()
        meant = f"elaunch run {name}" if script else ""
        raise attrs.evolve(error, installed=installed, meant=meant) from None
    return command.run(arguments)
