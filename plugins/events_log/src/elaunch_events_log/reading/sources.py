"""The files that a command names: globs, files that were rotated, and stdin."""

import glob
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs

from elaunch.api import UsageError
from elaunch_events_log.reading.entry import Entry, parse


STDIN = "-"


@attrs.frozen
class Found:
    """What was read.

    Attributes:
        entries: The events, each once.
        notes: What was odd, for people.
    """

    entries: Sequence[Entry]
    notes: Sequence[str]


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
        found = [Path(word)] if Path(word).exists() else _matching(word)
        if not found and not wait:
            raise UsageError(
                f"there is no file {word!r}; agents write one with "
                f"'elaunch run --event-recorder jsonl:path=FILE'"
            )
        for path in found:
            for each in _family(path):
                files[each] = None
    return list(files)


def read(words: Sequence[str]) -> Found:
    """Return all events of the files that words name; ``-`` is stdin.

    Raises:
        UsageError: If a word names no file, or one can't be read.
    """
    entries: dict[object, Entry] = {}
    notes: list[str] = []
    for path in expanded(word for word in words if word != STDIN):
        try:
            text = path.read_text(errors="backslashreplace")
        except OSError as error:
            raise UsageError(f"can't read {str(path)!r}: {error.strerror}") from error
        _take(text, str(path), entries, notes)
    if STDIN in words:
        _take(sys.stdin.read(), "stdin", entries, notes)
    return Found(list(entries.values()), notes)


def _take(text: str, name: str, entries: dict[object, Entry], notes: list[str]) -> None:
    foreign = 0
    lines = text.split("\n")
    torn = lines.pop()
    for line in lines:
        entry = parse(line)
        if entry:
            _add(entry, entries)
        elif line:
            foreign += 1
    last = parse(torn)
    if last:
        _add(last, entries)
    elif torn:
        notes.append(f"the last line of {name!r} is cut off")
    if foreign:
        lines_are = "1 line of" if foreign == 1 else f"{foreign} lines of"
        notes.append(f"{lines_are} {name!r} hold no event")


def _add(entry: Entry, entries: dict[object, Entry]) -> None:
    # Of an agent that says who it is each event counts once, however often it is read.
    key = (entry.run_id, entry.agent, entry.sequence) if entry.agent else len(entries)
    entries.setdefault(key, entry)


def _matching(word: str) -> list[Path]:
    return sorted(Path(path) for path in glob.glob(word, recursive=True))  # noqa: PTH207 - a word may be absolute


def _family(path: Path) -> list[Path]:
    """Return a file and the full ones that were kept of it, the oldest first."""
    stem = re.escape(path.name)
    older = [
        (int(found[1]), each)
        for each in path.parent.glob(f"{glob.escape(path.name)}.*")
        if (found := re.fullmatch(rf"{stem}\.(\d+)", each.name))
    ]
    return [each for _, each in sorted(older, reverse=True)] + [path]
