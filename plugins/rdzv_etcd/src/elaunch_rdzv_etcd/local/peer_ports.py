"""Where the members of a cluster meet, in a file: their data names it for ever."""

import json
from collections.abc import Sequence
from pathlib import Path

from elaunch.api import UsageError


_NAME = "peer-ports.json"
_MAX_PORT = 65_535


def are_kept(directory: Path) -> bool:
    """Whether there is a cluster in a directory."""
    return (directory / _NAME).exists()


def read(directory: Path) -> list[int]:
    """Return the port of each member.

    Raises:
        UsageError: If the file can't be read, or holds something else.
    """
    path = directory / _NAME
    try:
        ports = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _unusable(path, str(error)) from error
    if not isinstance(ports, list) or not all(map(_is_port, ports)):
        raise _unusable(path, "it is no list of ports")
    return ports


def write(directory: Path, ports: Sequence[int]) -> None:
    """Write the port of each member, all or nothing.

    Raises:
        UsageError: If that can't be done.
    """
    path = directory / _NAME
    new = path.with_suffix(".new")
    try:
        new.write_text(json.dumps(list(ports)))
        new.replace(path)
    except OSError as error:
        raise UsageError(f"{str(path)!r} can't be written: {error}") from error


def _is_port(value: object) -> bool:
    return type(value) is int and 0 < value <= _MAX_PORT


def _unusable(path: Path, reason: str) -> UsageError:
    return UsageError(
        f"{str(path)!r} does not say where the members of this cluster meet: {reason}; "
        f"write the ports of their --initial-cluster there, as [PORT, ...], or give "
        f"another directory"
    )
