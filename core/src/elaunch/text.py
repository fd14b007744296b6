"""Text made fit to be read by a person or a parser: what others wrote, and names."""

import re
from collections.abc import Iterable


_COLOURS = re.compile(r"\x1b\[[\d;:]*m")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def without_colours(text: str) -> str:
    """Return the text without the sequences that colour it on a terminal."""
    return _COLOURS.sub("", text)


def printable(text: str) -> str:
    r"""Return one line that does nothing to a terminal but stand there.

    Colours are left out; any other control character but a tab is shown as an escape,
    for example ``\x1b``, also one that ends a line.
    """
    return _CONTROLS.sub(lambda c: repr(c[0])[1:-1], without_colours(text))


def printable_lines(text: str) -> str:
    """Return lines of which each is `printable`; all but the first are indented.

    So none can pass for a line that somebody else began.
    """
    first, *others = map(printable, text.split("\n"))
    return "\n".join([first, *(f"  {line}" for line in others)])


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known word, or ``""``."""
    near = nearest(word, known)
    return f"; did you mean {near[0]!r}?" if near else ""


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """Return the nearest known word, or none."""
    import difflib

    return difflib.get_close_matches(word, sorted(known), n=1)


def quoted(names: Iterable[str]) -> str:
    """Return names sorted, quoted and joined by commas, or ``none``."""
    return ", ".join(repr(name) for name in sorted(names)) or "none"
