"""The files that a command names: globs, files that were rotated, and stdin."""

import glob
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import attrs

from elaunch.api import UsageError
from elaunch_events_log.reading.entry import LINE_LIMIT, Entry, parse
from elaunch_events_log.reading.lives import TELLING
from elaunch_events_log.reading.selection import Selection


STDIN = "-"


@attrs.frozen
class Found:
    """What was read.

    Attributes:
        entries: The events, each once; of those that nobody wants at least the ones by
            which the others are put in order.
        notes: What was odd, for people.
    """

    entries: Sequence[Entry]
    notes: Sequence[str]


@attrs.frozen
class _Reading:
    """Keeps of many files what is wanted, and no more than that.

    Attributes:
        selection: Which events are wanted.
        with_lines: Whether they keep their lines.
    """

    selection: Selection
    with_lines: bool
    _agents: dict[tuple[str, str], dict[int, Entry]] = attrs.field(factory=dict)
    _nameless: list[Entry] = attrs.field(factory=list)
    _notes: list[str] = attrs.field(factory=list)

    def take(self, file: BinaryIO, name: str) -> None:
        foreign = 0
        for line in _lines(file):
            text = line.decode(errors="backslashreplace").removesuffix("\n")
            entry = parse(text, keep=self.with_lines)
            if entry:
                self._add(entry)
            elif not line.endswith(b"\n"):
                self._notes.append(f"the last line of {name!r} is cut off")
            elif text:
                foreign += 1
        if foreign:
            one = foreign == 1
            lines, hold = ("1 line", "holds") if one else (f"{foreign} lines", "hold")
            self._notes.append(f"{lines} of {name!r} {hold} no event")

    def found(self) -> Found:
        entries = list(self._nameless)
        while self._agents:
            entries += self._agents.popitem()[1].values()
        return Found(entries, self._notes)

    def _add(self, entry: Entry) -> None:
        if not entry.agent:
            if entry.name in TELLING or self.selection.wants(entry):
                self._nameless.append(entry)
            return
        # Of an agent that says who it is each event counts once, however often it is
        # read; its first tells when it came.
        own = self._agents.setdefault((entry.run_id, entry.agent), {})
        if not own or entry.name in TELLING or self.selection.wants(entry):
            own.setdefault(entry.sequence, entry)


def expanded(words: Iterable[str], *, wait: bool = False) -> list[Path]:
    """Return the files that words name, each once and the oldest of a family first.

    Args:
        words: Paths and patterns.
        wait: Whether a word may name none yet.

    Raises:
        UsageError: If a word names none, and must.
    """
    files: dict[Path, None] = {}
    for word in words:
        found = [Path(word)] if os.path.lexists(word) else _matching(word)
        if not found and not wait:
            raise UsageError(
                f"there is no file {word!r}; agents write one with "
                f"'elaunch run --event-recorder jsonl:path=FILE'"
            )
        for path in found:
            for each in _family(path):
                files[each] = None
    return list(files)


def read(
    words: Sequence[str], selection: Selection, *, with_lines: bool = False
) -> Found:
    """Return the events of the files that words name; ``-`` is stdin.

    Args:
        words: Paths and patterns.
        selection: Which events are wanted.
        with_lines: Whether they keep their lines.

    Raises:
        UsageError: If a word names no file, or one can't be read.
    """
    reading = _Reading(selection, with_lines)
    for path in expanded(word for word in words if word != STDIN):
        try:
            with path.open("rb") as file:
                reading.take(file, str(path))
        except OSError as error:
            raise UsageError(f"can't read {str(path)!r}: {error.strerror}") from error
    if STDIN in words:
        reading.take(sys.stdin.buffer, "stdin")
    return reading.found()


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines; for one that is too long another that is no event."""
    while line := file.readline(LINE_LIMIT):
        if len(line) < LINE_LIMIT or line.endswith(b"\n"):
            yield line
            continue
        yield b"too long\n"
        while (more := file.readline(LINE_LIMIT)) and not more.endswith(b"\n"):
            continue


def _matching(word: str) -> list[Path]:
    return sorted(Path(path) for path in glob.glob(word, recursive=True))  # noqa: PTH207 - a word may be absolute


def _family(path: Path) -> list[Path]:
    """Return a file and the full ones that were kept of it, the oldest first."""
    stem = re.escape(path.name)
    older = [
        (int(found[1]), each)
        for each in path.parent.glob(f"{glob.escape(path.name)}.*")
        if (found := re.fullmatch(rf"{stem}\.(\d+)", each.name)) and each.is_file()
    ]
    return [each for _, each in sorted(older, reverse=True)] + [path]
