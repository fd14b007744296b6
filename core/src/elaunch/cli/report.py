"""Flags about what is told of failures, and of there being none."""

import argparse


def add_flags(failure: argparse._ActionsContainer) -> None:
    """Add the flags to the group of those about failures."""
    failure.add_argument(
        "--failure-file",
        metavar="PATH",
        default="",
        help="where a job that fails leaves its report as JSON (default: with the "
        "run's logs, else in a new directory under TMPDIR)",
    )
    failure.add_argument(
        "--dump-stacks",
        metavar="SECONDS",
        type=float,
        default=0.0,
        help="write down where the workers of this node are before they are stopped "
        "because of a failure, in at most so many seconds (default: 0, off)",
    )
    failure.add_argument(
        "--health-check",
        metavar="HOST:PORT",
        default="",
        help="where this agent tells over HTTP that it is well; a PORT alone is one of "
        "127.0.0.1 (default: nowhere)",
    )
    failure.add_argument(
        "--control",
        metavar="unix|none|HOST:PORT",
        default="unix",
        help="where this agent can be asked and told what to do, by 'elaunch status' "
        "say: a socket of its user, also HOST:PORT with a token, or none (default: "
        "unix)",
    )
