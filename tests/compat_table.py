"""The table of what torchelastic has and what elaunch makes of it.

`tests/compat/*.toml` holds the rows, one file a section; this renders `docs/compat.md`.
"""

import argparse
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs


ROOT = Path(__file__).parent.parent
ROWS = Path(__file__).parent / "compat"
PAGE = ROOT / "docs" / "compat.md"

STATUSES = {
    "same": "means the same under the same name",
    "renamed": "means the same under another name",
    "better": "does what it is for, without a known weakness",
    "differs": "does something else, for the reason given",
    "left out": "does not exist, for the reason given",
}
PENDING = "pending: "
"""What the reason of a row begins with that is not decided by a test yet."""

SECTIONS = (
    "launcher-api",
    "flags",
    "agent",
    "environment",
    "multiprocessing",
    "errors",
    "rendezvous",
    "events",
    "metrics",
    "timers",
    "control-plane",
    "utilities",
    "symbols",
    "upstream-tests",
    "weaknesses",
)

INTRODUCTION = """\
# torchelastic, row by row

What torchelastic and torchrun of torch 2.13.0 have, what elaunch has for it, and the
test that proves it. `make compat` writes this page from `tests/compat`; a test checks
that it is up to date, that each test and each name exists, and, where torch is
installed, that no flag, variable, field or public name of it is missing.

W1 to W48 are [known weaknesses](#known-weaknesses) of torchelastic.

A row is called after its section: `flags/nnodes`. Names in the column *elaunch* exist
as they are written.
"""


@attrs.frozen(kw_only=True)
class Row:
    """One thing that torchelastic has.

    Attributes:
        section: File it is in.
        group: Heading it stands under.
        key: Its name in the section.
        has: What torchelastic has.
        status: One of `STATUSES`.
        name: What it is in elaunch.
        reason: Why it is not the same.
        tests: Node ids of the tests that prove it.
        covers: Names of torchelastic that the row accounts for.
        default: What torch's own value is if nobody says, as Python writes it.
        flag: Of an upstream test: A of 2.13.0, N of a later version, D of a module
            that no longer exists.
    """

    section: str
    group: str
    key: str
    has: str
    status: str
    name: str = ""
    reason: str = ""
    tests: Sequence[str] = ()
    covers: Sequence[str] = ()
    default: str = ""
    flag: str = ""

    @property
    def id(self) -> str:
        """Name of the row in the whole table."""
        return f"{self.section}/{self.key}"

    @property
    def waits_for(self) -> str:
        """Who the row waits for; empty if it is decided."""
        if not self.reason.startswith(PENDING):
            return ""
        return self.reason.removeprefix(PENDING).split(";")[0]


@attrs.frozen
class Section:
    """One file of rows."""

    key: str
    title: str
    about: str
    rows: tuple[Row, ...]


def load() -> list[Section]:
    """Read all sections."""
    return [_section(key) for key in SECTIONS]


def rows() -> list[Row]:
    """Read the rows of all sections."""
    return [row for section in load() for row in section.rows]


def _section(key: str) -> Section:
    data = tomllib.loads((ROWS / f"{key}.toml").read_text())
    title, about = data.pop("title"), data.pop("about", "")
    found = tuple(
        Row(section=key, group=group, key=name, **_fields(fields))
        for group, named in data.items()
        for name, fields in named.items()
    )
    return Section(key, title, about, found)


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    test = fields.pop("test", "")
    several = [test] if isinstance(test, str) else test
    return {**fields, "tests": tuple(name for name in several if name)}


def render(sections: Sequence[Section]) -> str:
    """Return the page."""
    return "\n".join([INTRODUCTION, *_summary(sections), *_tables(sections)])


def _summary(sections: Sequence[Section]) -> Iterator[str]:
    yield "| status | what elaunch has | rows |"
    yield "|---|---|---|"
    counts = Counter(row.status for section in sections for row in section.rows)
    for status, meaning in STATUSES.items():
        yield f"| {status} | {meaning} | {counts[status]} |"
    yield f"| | all | {counts.total()} |"
    yield ""
    yield f"| section | {' | '.join(STATUSES)} |"
    yield f"|---|{'---|' * len(STATUSES)}"
    for section in sections:
        counts = Counter(row.status for row in section.rows)
        link = f"[{section.title}](#{_anchor(section.title)})"
        yield f"| {link} | {' | '.join(str(counts[s]) for s in STATUSES)} |"
    yield ""


def _anchor(title: str) -> str:
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def _tables(sections: Sequence[Section]) -> Iterator[str]:
    for section in sections:
        yield f"## {section.title}"
        yield ""
        if section.about:
            yield f"{section.about.strip()}"
            yield ""
        group = None
        for row in section.rows:
            if row.group != group:
                if group is not None:
                    yield ""
                group = row.group
                yield f"### {group}"
                yield ""
                yield "| row | torchelastic | status | elaunch | why | proof |"
                yield "|---|---|---|---|---|---|"
            yield _line(row)
        yield ""


def _line(row: Row) -> str:
    proof = "<br>".join(f"`{name}`" for name in row.tests)
    has = f"{row.flag}: {row.has}" if row.flag else row.has
    cells = [f"`{row.key}`", has, row.status, row.name, row.reason, proof]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _open(found: Sequence[Row]) -> Iterator[str]:
    waiting = sorted({row.waits_for for row in found} - {""})
    for name in waiting:
        theirs = [row for row in found if row.waits_for == name]
        yield f"{name}: {len(theirs)}"
        yield from (f"  {row.id}: {row.has} -> {row.name}" for row in theirs)
    yield f"open: {sum(bool(row.waits_for) for row in found)} of {len(found)}"


def main() -> None:
    """Write the page, or print what is open."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write docs/compat.md")
    parser.add_argument(
        "--open", action="store_true", help="print the rows that wait for something"
    )
    args = parser.parse_args()
    if args.write:
        PAGE.write_text(render(load()))
    if args.open:
        print("\n".join(_open(rows())))


if __name__ == "__main__":
    main()
