"""What there is to complete, whatever the shell."""

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from elaunch.cli.actions import actions_of


if TYPE_CHECKING:
    from elaunch.plugins import Catalogue, Plugins


_FILES = ("FILE", "PATH", "DIR")
"""What flags call values that are names of files."""


@attrs.frozen(kw_only=True)
class Flag:
    """One flag.

    Attributes:
        spellings: How it is written.
        summary: What it does, in a few words.
        value: What its value is called; empty if it has none.
        choices: What its value may be, where that is a list.
    """

    spellings: tuple[str, ...]
    summary: str
    value: str = ""
    choices: tuple[str, ...] = ()

    @property
    def is_file(self) -> bool:
        """Whether its value is the name of a file."""
        return self.value in _FILES


@attrs.frozen(kw_only=True)
class Facts:
    """All there is to complete.

    Attributes:
        commands: What each command does, by name.
        flags: Flags of each command whose flags are known.
        words: What may follow a command that takes one word.
    """

    commands: Mapping[str, str]
    flags: Mapping[str, Sequence[Flag]]
    words: Mapping[str, Sequence[str]]


def gather() -> Facts:
    """Ask the parsers, and the plugins for the names of commands and backends."""
    from elaunch.cli.parser import build_parsers
    from elaunch.plugins import load_plugins

    _, own = build_parsers()
    plugins = load_plugins()
    contributed = plugins.commands.registered
    backends = {
        setting: sorted(catalogue.registered)
        for setting, catalogue in _catalogues(plugins).items()
    }
    commands = {name: str(known.description) for name, known in own.items()}
    commands |= {name: by[0].provider.summary for name, by in contributed.items()}
    return Facts(
        commands={name: _short(text) for name, text in sorted(commands.items())},
        flags={name: _flags(known, backends) for name, known in own.items()},
        words={name: words for name, known in own.items() if (words := _words(known))},
    )


def _catalogues(plugins: "Plugins") -> "Mapping[str, Catalogue[Any, Any]]":
    """Return which backends the value of a flag names, by its setting."""
    return {
        "rdzv_backend": plugins.rendezvous,
        "spawner": plugins.spawners,
        "bootstrap": plugins.bootstraps,
        "monitor": plugins.monitors,
        "preflight": plugins.preflights,
        "event_recorder": plugins.recorders,
        "event_log_handler": plugins.recorders,
        "metrics": plugins.metric_handlers,
        "restart_policy": plugins.policies,
        "log_layout": plugins.log_layouts,
    }


def _flags(
    parser: argparse.ArgumentParser, backends: Mapping[str, Sequence[str]]
) -> list[Flag]:
    return [
        Flag(
            spellings=tuple(action.option_strings),
            summary=_short(action.help or ""),
            value=_value(action),
            choices=tuple(action.choices or backends.get(action.dest, ())),
        )
        for action in actions_of(parser)
        if action.option_strings
    ]


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    return str(action.metavar or action.dest.upper())


def _words(parser: argparse.ArgumentParser) -> list[str]:
    positional = (a for a in actions_of(parser) if not a.option_strings and a.choices)
    return [str(word) for action in positional for word in action.choices or ()]


def _short(text: str) -> str:
    """Return the beginning of a description, without what shells would read."""
    beginning = re.split(r"[;:(]|\. ", text)[0]
    return re.sub(r"[^\w ,./'<>+-]", "", beginning).strip()
