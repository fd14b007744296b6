"""Flags that name backends and plugins, and the configuration that they describe."""

import argparse
from collections.abc import Sequence
from typing import Any


def add_flags(backends: argparse._ActionsContainer) -> None:
    """Add the flags to a group of the parser."""
    backends.add_argument(
        "--spawner",
        metavar="NAME[:K=V,...]",
        default="local",
        help="who starts the workers (default: local)",
    )
    backends.add_argument(
        "--bootstrap",
        metavar="NAME[:K=V,...]",
        default="auto",
        help="how workers find each other (default: c10d if installed, else port)",
    )
    backends.add_argument(
        "--monitor",
        metavar="NAME[:K=V,...]",
        action="append",
        default=[],
        help="who watches the workers; may be given several times",
    )
    backends.add_argument(
        "--monitor-interval",
        metavar="SECONDS",
        type=float,
        default=0.1,
        help="time between two looks of a monitor that has to look, unless it has an "
        "option of its own (default: 0.1)",
    )
    backends.add_argument(
        "--preflight",
        metavar="NAME[:K=V,...]",
        action="append",
        default=[],
        help="a check that this node must pass to take a place, for example "
        "disk:path=/scratch,free=10GiB; may be given several times",
    )
    backends.add_argument(
        "--event-recorder",
        metavar="NAME[:K=V,...]",
        action="append",
        default=[],
        help="who keeps the events, for example jsonl:path=events.jsonl; may be given "
        "several times",
    )
    backends.add_argument(
        "--event-log-handler",
        metavar="NAME[:K=V,...]",
        default="null",
        help="one more of them, by torchrun's name for the flag; console and "
        "dynamic_rendezvous are torchelastic's (default: null)",
    )
    backends.add_argument(
        "--metrics",
        metavar="NAME[:K=V,...]",
        default="",
        help="who gets the agent's metrics, for example console (default: nobody)",
    )
    add_block_plugin(backends)


def add_block_plugin(parser: argparse._ActionsContainer) -> None:
    """Add the flag by which plugins are left alone."""
    parser.add_argument(
        "--block-plugin",
        metavar="NAME",
        dest="block_plugins",
        action="append",
        default=[],
        help="do not load this plugin or distribution; may be given several times "
        "(environment: ELAUNCH_BLOCK_PLUGINS=NAME,NAME)",
    )


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of a `LaunchConfig` that they set."""
    return {
        "spawner": args.spawner,
        "bootstrap": args.bootstrap,
        "monitors": tuple(args.monitor),
        "preflights": tuple(args.preflight),
        "monitor_interval": args.monitor_interval,
        "event_recorders": tuple(args.event_recorder),
        "event_log_handler": args.event_log_handler,
        "metrics_cfg": {"handler": args.metrics} if args.metrics else {},
        "block_plugins": names(args.block_plugins),
    }


def names(texts: Sequence[str]) -> tuple[str, ...]:
    """Read names of which each text may hold several, separated by commas."""
    parts = (name.strip() for text in texts for name in text.split(","))
    return tuple(name for name in parts if name)
