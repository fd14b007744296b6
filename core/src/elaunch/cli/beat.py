"""``elaunch beat``: what a shell script says to the agent of its worker.

It speaks the protocol of ``docs/worker-channel.md`` itself, and starts quickly.
"""

import argparse
import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import NoReturn

from elaunch.channel import CHANNEL


REASON_LIMIT = 1000
"""Characters kept of a reason: all of a long one would not be heard."""

LARGEST = 2.0**63
"""The largest number that an agent reads."""

PATIENCE = 1.0
"""Seconds that the agent is given to make room for what it must not miss."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--step", type=int, metavar="N", help="number of the step that is over"
    )
    parser.add_argument(
        "--step-time", type=float, metavar="SECONDS", help="how long it took"
    )
    instead = parser.add_argument_group(
        "something else than a heartbeat"
    ).add_mutually_exclusive_group()
    instead.add_argument(
        "--begin", metavar="SECTION", help="a section of this shell begins"
    )
    instead.add_argument("--end", metavar="SECTION", help="it is over")
    instead.add_argument(
        "--progress",
        type=float,
        metavar="MARKER",
        help="how far the job is: a restart begins there",
    )
    instead.add_argument(
        "--no-restart",
        metavar="REASON",
        help="the next failure on this node is to end the job",
    )
    instead.add_argument(
        "--exclude-node",
        metavar="REASON",
        help="the job is to go on without this node",
    )
    instead.add_argument(
        "--hold-scaling",
        type=float,
        metavar="SECONDS",
        help="the job is to take in no nodes for so long, or until the next flag",
    )
    instead.add_argument(
        "--release-scaling",
        action="store_const",
        const=True,
        help="nodes that wait may come in now",
    )
    parser.add_argument(
        "--limit",
        type=float,
        metavar="SECONDS",
        help="with --begin: seconds that the section may take",
    )
    parser.add_argument(
        "values",
        nargs="*",
        metavar="NAME=VALUE",
        help="what else the heartbeat tells",
    )


def beat(args: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Say it, if somebody listens, and return the exit status, which is 0.

    Args:
        args: What to say.
        environment: Says where.

    Raises:
        UsageError: If it can't be meant.
    """
    message = message_of(args, os.getppid())
    path = environment.get(CHANNEL)
    if path:
        # Whatever becomes of the agent is no fault of the script.
        with contextlib.suppress(OSError, AttributeError):
            _send(path, message)
    return 0


def message_of(args: argparse.Namespace, shell: int) -> dict[str, object]:
    """Return the message that is meant.

    Args:
        args: What to say.
        shell: Process id of who says it, whose sections it names.

    Raises:
        UsageError: If it can't be meant.
    """
    others = {
        "section": args.begin,
        "section_end": args.end,
        "progress": args.progress,
        "no_restart": args.no_restart,
        "exclude_node": args.exclude_node,
        "hold_scaling": args.hold_scaling,
        "release_scaling": args.release_scaling,
    }
    kind = next((k for k, v in others.items() if v is not None), "heartbeat")
    if args.limit is not None and kind != "section":
        _refuse("--limit is for --begin: write --begin SECTION --limit 60")
    if args.limit is not None and not _is_limit(args.limit):
        _refuse(
            f"--limit is seconds above 0, not {args.limit:g}; leave it out for none"
        )
    if args.hold_scaling is not None and not _is_limit(args.hold_scaling):
        _refuse(f"--hold-scaling is seconds above 0, not {args.hold_scaling:g}")
    if kind == "heartbeat":
        return _heartbeat(args)
    if args.step is not None or args.step_time is not None or args.values:
        _refuse("a step and values belong to a heartbeat; say them by another one")
    told = others[kind]
    if kind == "progress":
        return {"kind": kind, "marker": told}
    if kind == "hold_scaling":
        return {"kind": kind, "limit": told}
    if kind == "release_scaling":
        return {"kind": kind}
    if kind.startswith("section"):
        import zlib

        # Its beginning and its end come from two processes, and are one section.
        section = {"name": told, "token": zlib.crc32(told.encode()), "pid": shell}
        limit = {} if args.limit is None else {"limit": args.limit}
        return {"kind": kind, **section, **limit}
    return {"kind": kind, "reason": told[:REASON_LIMIT]}


def _is_limit(seconds: float) -> bool:
    return 0 < seconds <= LARGEST


def _heartbeat(args: argparse.Namespace) -> dict[str, object]:
    facts = {"step": args.step, "step_time": args.step_time}
    told = {name: value for name, value in facts.items() if value is not None}
    values = _values(args.values)
    return {"kind": "heartbeat", **told, **({"values": values} if values else {})}


def _values(words: Sequence[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            _refuse(f"{word!r} is no value: write NAME=VALUE, for example loss=0.5")
        found[name] = _value(value)
    return found


def _value(text: str) -> object:
    for number in (int, float):
        with contextlib.suppress(ValueError):
            return number(text)
    return text


def _refuse(message: str) -> NoReturn:
    from elaunch.errors import UsageError

    raise UsageError(message)


def _send(path: str, message: Mapping[str, object]) -> None:
    import json
    import socket

    line = json.dumps(message, ensure_ascii=False).encode(errors="backslashreplace")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(path)
        # Another heartbeat follows.
        channel.settimeout(0 if message["kind"] == "heartbeat" else PATIENCE)
        channel.send(line)
