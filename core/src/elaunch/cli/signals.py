"""Flags about signals: to this agent, and to workers."""

import argparse
from typing import Any


def add_flags(failure: argparse._ActionsContainer) -> None:
    """Add the flags to the group of those about failures and stops."""
    failure.add_argument(
        "--stop-signal",
        metavar="NAME",
        default="SIGTERM",
        help="signal that stops workers (default: SIGTERM)",
    )
    failure.add_argument(
        "--signals-to-handle",
        metavar="NAME,NAME",
        default="SIGTERM,SIGINT,SIGHUP,SIGQUIT",
        help="signals that end this agent in good order (default: "
        "SIGTERM,SIGINT,SIGHUP,SIGQUIT)",
    )
    failure.add_argument(
        "--notice-signal",
        metavar="NAME",
        default="SIGUSR1",
        help="signal that tells this agent, and by it the workers of every node, of a "
        "preemption; 'none' for no such signal (default: SIGUSR1)",
    )


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of a `LaunchConfig` that they set."""
    return {
        "stop_signal": args.stop_signal,
        "signals_to_handle": args.signals_to_handle,
        "notice_signal": args.notice_signal,
    }
