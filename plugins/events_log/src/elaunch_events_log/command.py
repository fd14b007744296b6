"""``elaunch events``: what the files of all nodes tell of a run."""

import argparse
import contextlib
import gc
import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from elaunch.api import UsageError
from elaunch_events_log.reading.entry import Entry, parse
from elaunch_events_log.reading.follow import follow
from elaunch_events_log.reading.merge import Placed, merged
from elaunch_events_log.reading.selection import Selection, moment, numbers
from elaunch_events_log.reading.sources import STDIN, expanded, read


T = TypeVar("T")

SCHEMA = Path(__file__).with_name("event.schema.json")
"""What an event is, for other programs."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n  see '{self.prog} --help'")


class EventsCommand:
    """Reads files of the recorder ``jsonl``.

    Args:
        prog: What users type to get here.
    """

    def __init__(self, prog: str) -> None:
        self._parser = parser(prog)

    def run(self, arguments: Sequence[str]) -> int:
        """Tell what was asked for; return 0.

        Raises:
            UsageError: If a file can't be read or written, or an argument is wrong.
        """
        asked = self._parser.parse_args(arguments)
        if asked.schema:
            sys.stdout.write(SCHEMA.read_text(encoding="utf-8"))
            return 0
        if not asked.files:
            self._parser.error(
                "name the files that agents wrote, for example '*.jsonl'"
            )
        selection = _selection(asked)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        # Very many objects, and no cycles among them, which looking for would take as
        # long as all the rest.
        collects = gc.isenabled()
        gc.disable()
        try:
            with contextlib.suppress(KeyboardInterrupt):
                if asked.follow:
                    _follow(asked, selection)
                else:
                    _tell(asked, selection)
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read it has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:
            if collects:
                gc.enable()
        return 0


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of its arguments."""
    found = _Parser(
        prog=prog,
        description="Tell the story of a run from the events that its agents wrote "
        "('elaunch run --event-recorder jsonl:path=FILE'): who joined, what failed, "
        "how long each phase took. With a filter, list the events that match.",
        allow_abbrev=False,
    )
    found.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="files of all nodes, or patterns of their names; '-' is stdin. Older "
        "parts of a file (FILE.1, ...) are read, too",
    )
    shown = found.add_argument_group("what is shown")
    views = shown.add_mutually_exclusive_group()
    views.add_argument(
        "--list", action="store_true", help="list the events, one line each"
    )
    views.add_argument(
        "--json",
        action="store_true",
        help="write the events as they are, one line each",
    )
    views.add_argument(
        "--html",
        metavar="OUT",
        help="write a page with the timeline of generations and ranks to this file",
    )
    shown.add_argument(
        "--follow",
        action="store_true",
        help="list the events, and those that come, until Ctrl-C",
    )
    views.add_argument(
        "--schema",
        action="store_true",
        help="print the JSON Schema of events, and read none",
    )
    chosen = found.add_argument_group("filters")
    chosen.add_argument(
        "--rank",
        metavar="RANKS",
        type=_read(numbers),
        default=frozenset(),
        help="only events about these global ranks, like 0-3,5",
    )
    chosen.add_argument(
        "--host",
        "--node",
        metavar="HOST",
        action="append",
        default=[],
        help="only events of this host, or of the agent with this id; may be repeated",
    )
    chosen.add_argument(
        "--name",
        metavar="NAME",
        action="append",
        default=[],
        help="only events of this name or pattern, like 'worker.*'; may be repeated",
    )
    chosen.add_argument(
        "--source", choices=("agent", "worker"), default="", help="only events about it"
    )
    chosen.add_argument(
        "--generation",
        metavar="NUMBERS",
        type=_read(numbers),
        default=frozenset(),
        help="only events of these generations, like 2-4",
    )
    chosen.add_argument(
        "--run",
        metavar="ID",
        action="append",
        default=[],
        help="only events of this job; may be repeated",
    )
    for flag, which in (("--since", "from"), ("--until", "up to")):
        chosen.add_argument(
            flag,
            metavar="TIME",
            type=_read(moment),
            default=None,
            help=f"only events {which} this time: 2026-01-31T12:00, Unix seconds, or "
            f"10m (ago)",
        )
    return found


def _read(read_it: Callable[[str], T]) -> Callable[[str], T]:
    """Let a parser tell what a reader of values says."""

    def read_one(text: str) -> T:
        try:
            return read_it(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read_one


def _selection(asked: argparse.Namespace) -> Selection:
    return Selection(
        ranks=asked.rank,
        hosts=frozenset(asked.host),
        names=tuple(asked.name),
        source=asked.source.upper(),
        generations=asked.generation,
        runs=frozenset(asked.run),
        since=asked.since,
        until=asked.until,
    )


def _tell(asked: argparse.Namespace, selection: Selection) -> None:
    from elaunch_events_log.reading.clocks import aligned
    from elaunch_events_log.story.tell import stories
    from elaunch_events_log.story.text import as_text, safe

    found = read(asked.files, selection, with_lines=asked.json)
    notes = [*found.notes]
    if asked.json or asked.list or (selection and not asked.html):
        _list(_wanted(found.entries, selection), as_json=asked.json)
    else:
        entries, wrong = aligned(found.entries)
        notes += wrong
        runs = stories(_wanted(entries, selection))
        if asked.html:
            from elaunch_events_log.story.page import page

            _write(asked.html, page(runs, notes))
        else:
            sys.stdout.write("\n".join(map(as_text, runs)) or "no events\n")
    for note in notes:
        sys.stderr.write(f"elaunch: note: {safe(note)}\n")


def _wanted(entries: Iterable[Entry], selection: Selection) -> list[Placed]:
    return [placed for placed in merged(entries) if selection.wants(placed.entry)]


def _list(events: Iterable[Placed], *, as_json: bool) -> None:
    from elaunch_events_log.story.tell import labels
    from elaunch_events_log.story.text import as_line, safe_json

    known = list(events)
    label = labels(placed.entry for placed in known)
    for placed in known:
        entry = placed.entry
        if as_json:
            sys.stdout.write(f"{safe_json(entry.line)}\n")
        else:
            sys.stdout.write(f"{as_line(entry, label(entry), placed.life)}\n")


def _follow(asked: argparse.Namespace, selection: Selection) -> None:
    from elaunch_events_log.story.text import as_line, safe_json

    if asked.html:
        raise UsageError("--html is a page of what has happened; leave out --follow")
    if STDIN in asked.files:
        if asked.files != [STDIN]:
            raise UsageError(
                "'-' can't be followed beside files; leave out one of them"
            )
        batches: Iterable[list[str]] = (
            [line.decode(errors="backslashreplace").removesuffix("\n")]
            for line in sys.stdin.buffer
        )
    else:
        parents = {Path(word).parent for word in asked.files}
        batches = follow(lambda: expanded(asked.files, wait=True), parents)
    for lines in batches:
        entries = [entry for line in lines if (entry := parse(line))]
        for placed in merged(entries):
            entry = placed.entry
            if selection.wants(entry):
                node = f"{entry.host}[{entry.agent}]" if entry.agent else entry.host
                line = safe_json(entry.line) if asked.json else as_line(entry, node)
                sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"can't write {path!r}: {error.strerror}") from error
