"""The flags about workers' output, and what they mean."""

import argparse
from typing import TYPE_CHECKING, Any

from elaunch.sizes import size_of


if TYPE_CHECKING:
    from elaunch.output import RankSet, StdOrMap


_PREFIX = "TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE"


def add_flags(output: argparse._ActionsContainer) -> None:
    """Add the flags about output."""
    output.add_argument(
        "--log-dir",
        metavar="DIR",
        default="",
        help="directory for workers' output; with it alone all is written there "
        "beside the console (default: a temporary one where files are wanted)",
    )
    output.add_argument(
        "-r",
        "--redirects",
        metavar="STREAMS",
        default=None,
        help="streams that go to files only: 1 stdout, 2 stderr, 3 both; or by local "
        "rank, for example 0:1,1:3",
    )
    output.add_argument(
        "-t",
        "--tee",
        metavar="STREAMS",
        default=None,
        help="streams that go to files and to the console, likewise",
    )
    output.add_argument(
        "--ranks-filter",
        metavar="RANKS",
        default=None,
        help="global ranks that the console shows, for example 0,4-7 (default: all)",
    )
    output.add_argument(
        "--local-ranks-filter",
        metavar="RANKS",
        default=None,
        help="local ranks that it shows, likewise",
    )
    output.add_argument(
        "--debug-rank",
        metavar="R",
        type=int,
        default=None,
        help="global rank that gets the terminal, for example for pdb; all others "
        "write to files only",
    )
    output.add_argument(
        "--log-line-prefix-template",
        metavar="TEXT",
        default=None,
        help="what each line begins with on the console, for example "
        f"'{{host}}:{{rank}} ' (environment: {_PREFIX})",
    )
    output.add_argument(
        "--log-timestamps",
        action="store_true",
        help="begin each line with the time, on the console and in files",
    )
    _add_lines(output)
    _add_files(output)


def _add_lines(output: argparse._ActionsContainer) -> None:
    for stream in ("stdout", "stderr"):
        output.add_argument(
            f"--duplicate-{stream}-filters",
            metavar="TEXT,TEXT",
            default="",
            help=f"write lines of {stream} with one of these texts also to a file of "
            f"their own; ',,' stands for a comma",
        )


def _add_files(output: argparse._ActionsContainer) -> None:
    output.add_argument(
        "--log-max-bytes",
        metavar="SIZE",
        default="0",
        help="begin a new file when one has this size, for example 64M (default: 0, "
        "no limit)",
    )
    output.add_argument(
        "--log-backups",
        metavar="N",
        type=int,
        default=3,
        help="full files to keep beside it (default: 3)",
    )
    output.add_argument(
        "--log-retention",
        metavar="N",
        type=int,
        default=0,
        help="generations of this run to keep (default: 0, all)",
    )
    output.add_argument(
        "--log-layout",
        metavar="NAME[:K=V,...]",
        default="default",
        help="who chooses the files (default: default)",
    )
    output.add_argument(
        "--logs-specs",
        metavar="NAME",
        default="",
        help="let a plugin for torchelastic choose them (entry points "
        "torchrun.logs_specs)",
    )


def fields_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of `LaunchConfig` that the flags give.

    Raises:
        UsageError: If a flag is malformed.
    """
    return {
        "log_dir": args.log_dir,
        "redirects": _streams(args.redirects, "--redirects"),
        "tee": _streams(args.tee, "--tee"),
        "ranks_filter": _ranks(args.ranks_filter, "--ranks-filter"),
        "local_ranks_filter": _ranks(args.local_ranks_filter, "--local-ranks-filter"),
        "debug_rank": args.debug_rank,
        "log_line_prefix_template": args.log_line_prefix_template,
        "log_timestamps": args.log_timestamps,
        "duplicate_stdout_filters": parse_needles(args.duplicate_stdout_filters),
        "duplicate_stderr_filters": parse_needles(args.duplicate_stderr_filters),
        "log_max_bytes": parse_size(args.log_max_bytes, "--log-max-bytes"),
        "log_backups": args.log_backups,
        "log_retention": args.log_retention,
        "log_layout": args.log_layout,
        "logs_specs": args.logs_specs,
    }


def _streams(text: str | None, flag: str) -> "StdOrMap | None":
    from elaunch.errors import UsageError
    from elaunch.output import Std

    try:
        return None if text is None else Std.from_str(text)
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from None


def _ranks(text: str | None, flag: str) -> "RankSet | None":
    from elaunch.errors import UsageError
    from elaunch.output import RankSet

    try:
        return RankSet.from_str(text) if text else None
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from None


def parse_needles(text: str) -> tuple[str, ...]:
    """Read texts separated by commas; a comma in one of them is written twice."""
    parts = text.replace(",,", "\0").split(",")
    return tuple(part.replace("\0", ",") for part in parts if part)


def parse_size(text: str, flag: str) -> int:
    """Read a number of bytes like ``4096``, ``64K``, ``10MiB`` or ``1g``.

    Raises:
        UsageError: If it is something else; names the flag.
    """
    try:
        return size_of(text)
    except ValueError as error:
        from elaunch.errors import UsageError

        raise UsageError(f"{flag} is {error}") from None
