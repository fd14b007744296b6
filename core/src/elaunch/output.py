"""Where workers' output goes: settings, and what they mean for each stream."""

import enum
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Self

import attrs

from elaunch.errors import UsageError
from elaunch.templates import render
from elaunch.workers import WorkerRanks


class Std(enum.IntFlag):
    """Streams of a worker, with torchelastic's names and numbers."""

    NONE = 0
    OUT = 1
    ERR = 2
    ALL = OUT | ERR

    @classmethod
    def from_str(cls, text: str) -> "Std | dict[int, Std]":
        """Read ``3``, or ``0:1,1:3`` for streams by local rank.

        Raises:
            UsageError: If it is neither.
        """
        text = text.strip()
        if re.fullmatch(r"[0-3]", text):
            return cls(int(text))
        if re.fullmatch(r"\d+:[0-3](\s*,\s*\d+:[0-3])*", text):
            pairs = (pair.split(":") for pair in text.split(","))
            return {int(rank): cls(int(streams)) for rank, streams in pairs}
        raise UsageError(
            f"streams are 0 (none), 1 (stdout), 2 (stderr) or 3 (both), or a list "
            f"by local rank, for example 0:1,1:3, not {text!r}"
        )


@attrs.frozen
class RankSet:
    """Some ranks.

    Attributes:
        ranges: They, in ranges that may overlap.
    """

    ranges: tuple[range, ...]

    @property
    def last(self) -> int:
        """The highest of them; -1 if there are none."""
        return max((ranks.stop - 1 for ranks in self.ranges), default=-1)

    def __contains__(self, rank: int) -> bool:
        return any(rank in ranks for ranks in self.ranges)

    @classmethod
    def from_str(cls, text: str) -> Self:
        """Read ``0,4-7``.

        Raises:
            UsageError: If it is something else.
        """
        ranges = []
        for part in text.split(","):
            found = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
            if not found or int(found[2] or found[1]) < int(found[1]):
                raise UsageError(
                    f"ranks are numbers and ranges of numbers, for example 0,4-7, "
                    f"not {text!r}"
                )
            ranges.append(range(int(found[1]), int(found[2] or found[1]) + 1))
        return cls(tuple(ranges))


VARIABLES: Mapping[str, str] = {
    "TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE": (
        "what each line of output begins with; `--log-line-prefix-template` wins"
    ),
}
"""What the command line reads of its environment about output."""

StdOrMap = Std | Mapping[int, Std]


def _streams(given: "str | int | Mapping[int, Any] | None") -> "StdOrMap | None":
    """Convert what a user gives for ``redirects`` or ``tee``."""
    if given is None or isinstance(given, Std):
        return given
    if isinstance(given, Mapping):
        return {int(rank): Std(int(streams)) for rank, streams in given.items()}
    return Std.from_str(str(given))


def _ranks(given: "str | RankSet | None") -> RankSet | None:
    return RankSet.from_str(given) if isinstance(given, str) else given


def _ranks_or_numbers(given: Any) -> RankSet | None:
    if given is None or isinstance(given, str | RankSet):
        return _ranks(given)
    return RankSet(tuple(range(rank, rank + 1) for rank in sorted(given)))


def texts(given: Iterable[str] | None) -> tuple[str, ...]:
    """Convert what a user gives for texts of a filter; `None` is none."""
    return tuple(given or ())


def _check(rule: str, *, ok: bool) -> None:
    if not ok:
        raise UsageError(rule)


@attrs.frozen(kw_only=True)
class OutputSettings:
    """What becomes of workers' output.

    Attributes:
        log_dir: Directory for files; empty for a temporary one where files are wanted,
            ``/dev/null`` for no files at all: what was to go to them is shown.
        redirects: Streams that go to files and not to the console, the same for all
            workers or by local rank; `None` for none.
        tee: Streams that go to both; `None` for all of them if there is a
            ``log_dir`` and nothing is redirected, and for none otherwise.
        local_ranks_filter: Local ranks that are shown on the console; `None` for all.
        ranks_filter: Global ranks that are shown on it, likewise.
        duplicate_stdout_filters: Texts; lines of stdout with one of them are also
            written to a file of their own.
        duplicate_stderr_filters: Likewise for stderr.
        timestamps: Whether each line begins with the time at which it was read.
        max_bytes: Bytes of a file after which a new one is begun; 0 for no limit.
        backups: How many full files are kept beside the one that is written.
        retention: How many generations of this run are kept; 0 for all.
        debug_rank: Global rank that has the agent's terminal for itself; `None` for
            none. All others write to files only.

    Raises:
        UsageError: If a value is malformed or out of range.
    """

    log_dir: str = ""
    redirects: StdOrMap | None = attrs.field(default=None, converter=_streams)
    tee: StdOrMap | None = attrs.field(default=None, converter=_streams)
    local_ranks_filter: RankSet | None = attrs.field(
        default=None, converter=_ranks_or_numbers
    )
    ranks_filter: RankSet | None = attrs.field(
        default=None, converter=_ranks_or_numbers
    )
    duplicate_stdout_filters: tuple[str, ...] = attrs.field(default=(), converter=texts)
    duplicate_stderr_filters: tuple[str, ...] = attrs.field(default=(), converter=texts)
    timestamps: bool = False
    max_bytes: int = 0
    backups: int = 3
    retention: int = 0
    debug_rank: int | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("max_bytes", "backups", "retention"):
            value = getattr(self, name)
            _check(f"{name} must not be negative, not {value}", ok=value >= 0)
        _check(
            f"debug_rank must not be negative, not {self.debug_rank}",
            ok=self.debug_rank is None or self.debug_rank >= 0,
        )

    def last_local_ranks(self) -> dict[str, int]:
        """Return the highest local rank that each setting names, by its name.

        A filter may name ranks that only other nodes have.
        """
        return {
            name: max(streams, default=-1)
            for name, streams in (("redirects", self.redirects), ("tee", self.tee))
            if isinstance(streams, Mapping)
        }

    def last_ranks(self) -> dict[str, int]:
        """Return the highest global rank that each setting names, by its name."""
        named = {}
        if self.ranks_filter:
            named["ranks_filter"] = self.ranks_filter.last
        if self.debug_rank is not None:
            named["debug_rank"] = self.debug_rank
        return named

    @property
    def discards_files(self) -> bool:
        """Whether there are no files, whatever asks for them."""
        return self.log_dir == os.devnull

    @property
    def keeps_files(self) -> bool:
        """Whether any file of output can be wanted."""
        if self.discards_files:
            return False
        streams = [
            one
            for given in (self.redirects, self.tee)
            for one in (given.values() if isinstance(given, Mapping) else (given,))
        ]
        filters = (*self.duplicate_stdout_filters, *self.duplicate_stderr_filters)
        return bool(
            self.log_dir or any(streams) or filters or self.debug_rank is not None
        )

    def routes(self, ranks: WorkerRanks) -> "WorkerRoutes":
        """Return where the streams of one worker go."""
        if self.debug_rank is not None:
            debugged = ranks.rank == self.debug_rank
            route = Route(
                file=not debugged and not self.discards_files,
                console=False,
                terminal=debugged,
            )
            return WorkerRoutes(stdout=route, stderr=route)
        shown = (
            self.local_ranks_filter is None
            or ranks.local_rank in self.local_ranks_filter
        ) and (self.ranks_filter is None or ranks.rank in self.ranks_filter)
        if self.discards_files:
            route = Route(console=shown)
            return WorkerRoutes(stdout=route, stderr=route)
        redirected = _of(self.redirects, ranks.local_rank)
        tee = self.tee
        if tee is None and self.redirects is None and self.log_dir:
            tee = Std.ALL
        both = _of(tee, ranks.local_rank)

        def route_of(stream: Std) -> Route:
            teed = bool(both & stream)
            return Route(
                file=teed or bool(redirected & stream),
                console=shown and (teed or not redirected & stream),
            )

        return WorkerRoutes(stdout=route_of(Std.OUT), stderr=route_of(Std.ERR))


def _of(streams: StdOrMap | None, local_rank: int) -> Std:
    if streams is None:
        return Std.NONE
    if isinstance(streams, Std):
        return streams
    return streams.get(local_rank, Std.NONE)


@attrs.frozen(kw_only=True)
class Route:
    """Where one stream goes.

    Attributes:
        file: Whether it is written to a file.
        console: Whether it is shown on the console.
        terminal: Whether it is the agent's own stream, untouched.
    """

    file: bool = False
    console: bool = True
    terminal: bool = False


@attrs.frozen(kw_only=True)
class WorkerRoutes:
    """Where the streams of one worker go."""

    stdout: Route
    stderr: Route


NO_ROLE = ("default", "default_role")
"""Roles that nobody chose: those of torchelastic's command line and of its API."""

_TORCHRUNS = {"${role_name}": "{role}", "${rank}": "{rank}"}
_TORCHRUNS["${local_rank}"] = "{local_rank}"


def line_prefix(template: str | None, names: Mapping[str, str], *, alone: bool) -> str:
    """Return what each line of a worker begins with on the console.

    Args:
        template: What the user asked for, with ``{name}`` (`elaunch.templates`) or
            torchrun's ``${role_name}``, ``${rank}`` and ``${local_rank}``; `None` for
            role and global rank, or the rank alone where the role has no name.
        names: What the worker's templates can name.
        alone: Whether the job has no other worker, so that nothing needs to be told
            apart.
    """
    if template is None:
        if alone:
            return ""
        role = names["role"]
        return render("[{rank}] " if role in NO_ROLE else "[{role}:{rank}] ", names)
    for theirs, ours in _TORCHRUNS.items():
        template = template.replace(theirs, ours)
    return render(template, names)
