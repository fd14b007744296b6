"""Lists of hosts as Slurm writes them: ``n[001-003,007]-ib,gpu5``."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias


_HOST = re.compile(r"(?:\[[^\[\]]*\]|[^\[\],])+")
_PIECE = re.compile(r"\[([^\[\]]*)\]|[^\[\]]+")
_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")


_Numbers: TypeAlias = tuple[int, range]
"""How wide numbers are written, with zeros before them, and which they are."""


def hosts(text: str) -> Iterator[str]:
    """Return the hosts of a list in its order; none is made before it is asked for.

    Raises:
        ValueError: If the text is no such list.
    """
    spelt, position = [], 0
    while True:
        found = _HOST.match(text, position)
        if not found:
            raise ValueError(f"no list of hosts: {text!r}")
        spelt.append([_words(piece) for piece in _PIECE.finditer(found[0])])
        position = found.end()
        if position == len(text):
            return itertools.chain.from_iterable(map(_expanded, spelt))
        if text[position] != ",":
            raise ValueError(f"no list of hosts: {text!r}")
        position += 1


def _expanded(pieces: Sequence[Sequence[_Numbers | str]]) -> Iterator[str]:
    """Yield what each choice of one word per piece spells, the last piece fastest."""
    first, *rest = pieces
    for word in itertools.chain.from_iterable(map(_spelt, first)):
        if not rest:
            yield word
        else:
            yield from (word + tail for tail in _expanded(rest))


def _spelt(part: _Numbers | str) -> Iterator[str]:
    if isinstance(part, str):
        return iter((part,))
    width, numbers = part
    return (f"{number:0{width}d}" for number in numbers)


def _words(piece: re.Match[str]) -> Sequence[_Numbers | str]:
    if piece[1] is None:
        return (piece[0],)
    return [_numbers(part) for part in piece[1].split(",")]


def _numbers(part: str) -> _Numbers:
    found = _RANGE.fullmatch(part)
    if not found:
        raise ValueError(f"no range of numbers: {part!r}")
    first, last = found[1], found[2] or found[1]
    if int(last) < int(first):
        raise ValueError(f"a range that ends before it begins: {part!r}")
    return len(first), range(int(first), int(last) + 1)
