"""Lists of hosts as Slurm writes them: ``n[001-003,007]-ib,gpu5``."""

import math
import re

import attrs


_HOST = re.compile(r"(?:\[[^\[\]]*\]|[^\[\],])+")
_PIECE = re.compile(r"\[([^\[\]]*)\]|[^\[\]]+")
_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")


@attrs.frozen
class Hosts:
    """What is asked of a list of hosts; it may stand for more than fit into memory.

    Attributes:
        first: The first of them.
        count: How many there are.
    """

    first: str
    count: int


def read_hosts(text: str) -> Hosts:
    """Return what a list says.

    Raises:
        ValueError: If the text is no such list.
    """
    entries, position = [], 0
    while True:
        found = _HOST.match(text, position)
        if not found:
            raise ValueError(f"no list of hosts: {text!r}")
        entries.append(_entry(found[0]))
        position = found.end()
        if position == len(text):
            return Hosts(entries[0].first, sum(entry.count for entry in entries))
        if text[position] != ",":
            raise ValueError(f"no list of hosts: {text!r}")
        position += 1


def _entry(text: str) -> Hosts:
    """Read what stands between two commas: each choice of one word per piece."""
    pieces = [
        Hosts(piece[0], 1) if piece[1] is None else _numbers(piece[1])
        for piece in _PIECE.finditer(text)
    ]
    return Hosts(
        "".join(piece.first for piece in pieces),
        math.prod(piece.count for piece in pieces),
    )


def _numbers(text: str) -> Hosts:
    ranges = [_range(part) for part in text.split(",")]
    return Hosts(ranges[0].first, sum(one.count for one in ranges))


def _range(text: str) -> Hosts:
    found = _RANGE.fullmatch(text)
    if not found:
        raise ValueError(f"no range of numbers: {text!r}")
    first, last = int(found[1]), int(found[2] or found[1])
    if last < first:
        raise ValueError(f"a range that ends before it begins: {text!r}")
    return Hosts(found[1], last - first + 1)
