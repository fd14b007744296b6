"""How variables are read: what can't be understood counts as not set."""

import re
from collections.abc import Mapping, Sequence

from elaunch.api import Suggestion


_COUNT = re.compile(r"[0-9]{1,10}")
_ID = re.compile(r"[^\w.@+-]+", re.ASCII)

_PORTS = range(20000, 32000)
"""Free for applications, and below those that systems give to outgoing connections."""


def number(environment: Mapping[str, str], name: str) -> int | None:
    """Return a variable that is a number, or `None` if it is not."""
    text = environment.get(name, "").strip()
    return int(text) if _COUNT.fullmatch(text) else None


def first_set(environment: Mapping[str, str], names: Sequence[str]) -> str | None:
    """Return the first of the variables that is set and not empty."""
    return next((name for name in names if environment.get(name)), None)


def counted(environment: Mapping[str, str], names: Sequence[str]) -> Suggestion | None:
    """Return the first of the variables that is a number of at least 1."""
    for name in names:
        count = number(environment, name)
        if count:
            return Suggestion(str(count), name)
    return None


def id_of(text: str) -> str:
    """Return a text as the id of a job, which can stand in a path."""
    return _ID.sub("-", text)[:200]


def port_of(job: int, part: int = 0) -> int:
    """Return a port for a job, the same on all of its nodes.

    Two jobs on one node should not meet. Those whose numbers are near to each other,
    which is what runs at one time, get different ports, and so do parts of one job.
    """
    return _PORTS[(job + 1009 * part) % len(_PORTS)]


def endpoint(host: str, port: int) -> str:
    """Return host and port as one text."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
