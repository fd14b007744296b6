"""Settings resolved: what each flag of ``elaunch run`` is, and who says so.

The command line counts first, then ``ELAUNCH_*``, then ``PET_*`` and other names of
torchelastic, then the configuration file, then the scheduler, then the default.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from elaunch.cli.actions import flag_of, settings_of
from elaunch.cli.conflicts import settle
from elaunch.cli.found import Found, Origin
from elaunch.cli.names import PROJECT
from elaunch.cli.parser import given, run_parser
from elaunch.cli.variables import names_of, read, texts_of


# Most runs have no file.
if TYPE_CHECKING:
    from elaunch.cli.config_file import ConfigFile


@attrs.frozen
class Resolved:
    """What each flag is, and who says so.

    Attributes:
        args: The final value of each flag, of ``script`` and of ``args``, by dest.
        sources: Where each is from, by dest: the flag in its long spelling, the
            variable, the file, the scheduler with its variable, or ``default``.
        origins: The kind of each source.
        notes: What a user is warned of.
    """

    args: argparse.Namespace
    sources: Mapping[str, str]
    origins: Mapping[str, Origin]
    notes: tuple[str, ...] = ()

    def place_of(self, setting: str) -> str:
        """Return where a user would correct a setting; of a file, the key in it."""
        source = self.sources[setting]
        if self.origins.get(setting) is Origin.FILE:
            return f"{source}: {setting.replace('_', '-')!r}"
        return source


def resolve(
    words: Sequence[str],
    environment: Mapping[str, str],
    prog: str = "elaunch run",
    *,
    legacy: bool = False,
) -> Resolved:
    """Read the command line of ``elaunch run``, and what stands behind it.

    Args:
        words: What follows ``run``.
        environment: Where variables are looked up.
        prog: What the user typed before them.
        legacy: Whether there is ``--use-env``.

    Raises:
        UsageError: If something said can't be; names the flag, variable or file.
    """
    parser = run_parser(prog, legacy=legacy)
    settings = settings_of(parser)
    found = {
        dest: Found(action.default, "default", Origin.DEFAULT)
        for dest, action in settings.items()
    }
    typed = given(parser, words)
    # From the last to the first: each overwrites what counts less.
    file = _file(typed, environment, settings)
    if file:
        found.update(_of_file(file, settings))
    found.update(_of_variables(environment, settings))
    found.update(_of_flags(typed, settings))
    found = settle(found, {dest: a.default for dest, a in settings.items()})
    if "script" in typed:
        what = Found(typed.script, "command line", Origin.FLAG)
        rest = Found(typed.args, "command line", Origin.FLAG)
    elif file and file.script:
        what = Found(file.script, file.name, Origin.FILE)
        rest = Found(list(file.args), file.name, Origin.FILE)
    else:
        parser.error("the following arguments are required: script")
    found |= {"script": what, "args": rest}
    return Resolved(
        argparse.Namespace(**{dest: one.value for dest, one in found.items()}),
        {dest: one.source for dest, one in found.items()},
        {dest: one.origin for dest, one in found.items()},
    )


def _file(
    typed: argparse.Namespace,
    environment: Mapping[str, str],
    settings: Mapping[str, argparse.Action],
) -> "ConfigFile | None":
    """Return what the file says that is named, or else the project's."""
    (variable,) = names_of("config")
    named, source = environment.get(variable), variable
    if hasattr(typed, "config"):
        named, source = typed.config, "--config"
    if named is None and os.path.exists(PROJECT):  # noqa: PTH110 - pathlib takes longer
        from elaunch.cli.config_file import read_project

        return read_project(settings)
    if not named:
        return None
    from elaunch.cli.config_file import read_config

    return read_config(named, source, settings)


def _of_flags(
    typed: argparse.Namespace, settings: Mapping[str, argparse.Action]
) -> dict[str, Found]:
    return {
        dest: Found(value, flag_of(settings[dest]), Origin.FLAG)
        for dest, value in vars(typed).items()
        if dest in settings
    }


def _of_variables(
    environment: Mapping[str, str], settings: Mapping[str, argparse.Action]
) -> dict[str, Found]:
    found = {}
    for dest, action in settings.items():
        for place, name in enumerate(names_of(dest)):
            if name in environment:
                value = read(action, texts_of(dest, environment[name]), name)
                found[dest] = Found(value, name, Origin.VARIABLE, place)
                break
    return found


def _of_file(
    file: "ConfigFile", settings: Mapping[str, argparse.Action]
) -> dict[str, Found]:
    return {
        dest: Found(
            read(settings[dest], entry.texts, entry.source), file.name, Origin.FILE
        )
        for dest, entry in file.entries.items()
    }
