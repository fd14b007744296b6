"""What argparse knows of a parser and tells nobody: its flags."""

import argparse


def actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return every flag and positional argument of a parser."""
    return parser._actions  # noqa: SLF001 - argparse lists them nowhere else


def settings_of(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Return what has a value, by the name of that value: all flags but the help."""
    return {
        action.dest: action
        for action in actions_of(parser)
        if action.option_strings and action.dest != "help"
    }


def flag_of(action: argparse.Action) -> str:
    """Return the long spelling of a flag, by which it is told."""
    return next(f for f in action.option_strings if f.startswith("--"))
