"""The flags that say how workers are started."""

import argparse
from typing import Any

from elaunch.cli.backends import names


METHODS = ("spawn", "fork", "forkserver", "warm")
"""What `elaunch.spawner.StartMethod` names; that module takes longer to import."""


def add_flags(start: argparse._ActionsContainer) -> None:
    """Add them to a group of a parser."""
    start.add_argument(
        "--start-method",
        choices=METHODS,
        default="spawn",
        help="how a worker's process comes to be: a new program, or with warm (or "
        "forkserver) a fork of a server that has imported --preload (default: spawn)",
    )
    start.add_argument(
        "--preload",
        metavar="MODULE,MODULE",
        action="append",
        default=[],
        help="modules that this server imports once; may be given several times",
    )
    start.add_argument(
        "--preload-anyway",
        action="store_true",
        help="go on if they left threads or open devices, which no fork survives",
    )


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of a `LaunchConfig` that they set."""
    return {
        "start_method": args.start_method,
        "preload": names(args.preload),
        "preload_anyway": args.preload_anyway,
    }
