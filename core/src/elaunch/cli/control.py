"""The flags of the commands that ask agents, or tell them what to do."""

import argparse
import contextlib
from collections.abc import Mapping


COMMANDS: Mapping[str, str] = {
    "status": "tell how the agents of this host are, and their jobs",
    "drain": "take a node out of its job, which goes on without it",
    "restart": "start the workers of a whole job anew, at no cost",
    "stop": "end a job, on all its nodes",
}
"""What each does."""

PATIENCE = 300.0
"""Seconds that ``--wait`` waits where it is not told how long."""


ENDING = frozenset({"drain", "stop"})
"""The commands that end agents."""


def add_flags(name: str, parser: argparse.ArgumentParser) -> None:
    """Add the flags of one of the commands to its parser."""
    parser.add_argument(
        "run_id",
        metavar="RUN_ID",
        nargs="?",
        default=None,
        help="id of the job (default: any)",
    )
    parser.add_argument(
        "--endpoint",
        "--rdzv-endpoint",
        metavar="ENDPOINT",
        default="",
        help="where the job's nodes meet, where jobs of one id run on this host",
    )
    parser.add_argument(
        "--agent",
        metavar="PID",
        type=int,
        default=None,
        help="process id of the agent, where several run on this host",
    )
    parser.add_argument(
        "--at",
        metavar="HOST:PORT",
        default="",
        help="an agent elsewhere, at its --control; the token is in "
        "ELAUNCH_CONTROL_TOKEN or ELAUNCH_CONTROL_TOKEN_FILE",
    )
    if name == "status":
        _add_status(parser)
        return
    parser.add_argument(
        "--reason", metavar="TEXT", default="", help="why, for whoever reads of it"
    )
    if name in ENDING:
        parser.add_argument(
            "--wait",
            metavar="SECONDS",
            nargs="?",
            type=_seconds,
            const=PATIENCE,
            default=None,
            help="return when the agent has ended, or with 124 if it has not within "
            f"that time (default: {PATIENCE:g})",
        )
    if name == "drain":
        parser.add_argument(
            "--all",
            action="store_true",
            help="all agents that match, where that is more than one",
        )


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(
        f"{text!r} is no time above 0; write --wait=SECONDS, or --wait last"
    )


def _add_status(parser: argparse.ArgumentParser) -> None:
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--members", action="store_true", help="tell of all nodes of each job, too"
    )
    shown.add_argument(
        "--metrics",
        action="store_true",
        help="print the metrics of one agent, for Prometheus",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for tools")
