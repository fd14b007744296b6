"""Flags about where workers run and what their environment says."""

import argparse
from collections.abc import Sequence
from typing import Any

from elaunch.cli.backends import names


def add_flags(place: argparse._ActionsContainer) -> None:
    """Add the flags to a group of the parser."""
    place.add_argument(
        "--numa-binding",
        metavar="MODE",
        default=None,
        help="bind each worker to CPUs: node, socket, exclusive or core-complex, close "
        "to its device where it has one, or cores, whole cores in equal shares "
        "(default: unbound)",
    )
    place.add_argument(
        "--threads",
        metavar="N",
        type=int,
        default=None,
        help="OMP_NUM_THREADS of each worker (default: what the environment says, else "
        "CPUs / workers of this node)",
    )
    place.add_argument(
        "--env",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="variable to add to each worker's environment, for example "
        "OUT=out-{rank}; may be given several times",
    )
    place.add_argument(
        "--virtual-local-rank",
        action="store_true",
        help="each worker is local rank 0 and sees one device only",
    )
    place.add_argument(
        "--device-variable",
        metavar="NAME",
        action="append",
        default=[],
        help="variable that shows a worker its device then; may be given several times "
        "(default: those that are known and set, else CUDA_VISIBLE_DEVICES)",
    )


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of the configuration that the flags describe.

    Raises:
        UsageError: If a variable has no value.
    """
    return {
        "numa_binding": args.numa_binding,
        "threads": args.threads,
        "env": _variables(args.env),
        "virtual_local_rank": args.virtual_local_rank,
        "device_variables": names(args.device_variable),
    }


def _variables(texts: Sequence[str]) -> dict[str, str]:
    """Read a flag that may be given several times; the last word on a name counts."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            from elaunch.errors import UsageError

            raise UsageError(f"--env is NAME=VALUE, not {text!r}")
        found[name] = value
    return found
