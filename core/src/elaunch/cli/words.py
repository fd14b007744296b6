"""Flags as users type them: underscores for dashes, and unambiguous beginnings.

Everything after the script is the script's, so nothing there is touched.
"""

import argparse
from collections.abc import Sequence

from elaunch.cli.actions import actions_of


def canonical(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Return the words with each flag before the script in its documented spelling.

    What is no flag of the parser stays, for the parser to complain of.

    Raises:
        UsageError: If a flag is the beginning of several.
    """
    flags = {flag: a for a in actions_of(parser) for flag in a.option_strings}
    done: list[str] = []
    left = iter(words)
    for word in left:
        if not word.startswith("-") or word in ("-", "--"):
            return [*done, word, *left]
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            flag = _meant(name.replace("_", "-"), flags, parser)
            done.append(f"{flag}{equals}{value}")
            wants_value = not equals and flag in flags and flags[flag].nargs != 0
        else:
            done.append(word)
            wants_value = _ends_open(word, flags)
        if wants_value:
            done += [value for value in (next(left, None),) if value is not None]
    return done


def _meant(
    name: str, flags: dict[str, argparse.Action], parser: argparse.ArgumentParser
) -> str:
    if name in flags:
        return name
    found = [flag for flag in flags if flag.startswith(name)]
    if len(found) > 1:
        from elaunch.cli.variables import TORCHRUNS

        theirs = [flag for flag in found if flags[flag].dest in TORCHRUNS]
        # Our flags must not make ambiguous what is a beginning of one of torchrun's.
        if len(theirs) == 1:
            return theirs[0]
        parser.error(f"ambiguous flag {name!r}: it may be {' or '.join(sorted(found))}")
    return found[0] if found else name


def _ends_open(word: str, flags: dict[str, argparse.Action]) -> bool:
    """Whether the last of some flags of one letter wants the next word as its value."""
    for position, letter in enumerate(word[1:], start=2):
        action = flags.get(f"-{letter}")
        if action is None:
            return False
        if action.nargs != 0:
            return position == len(word)
    return False
