"""The notice file: how a worker hears that it, or a node of its job, is to go.

The launcher replaces the file as a whole, so that it is read whole or not at all::

    {"kind": "preemption", "reason": "SIGUSR1", "host": "node-7",
     "timestamp": 1700000000.25, "grace": null}
"""

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple


NOTICE_FILE = "ELAUNCH_NOTICE_FILE"
"""Variable that names the file; unset or empty means that nobody will write one."""

ASKED = ".asked"
"""Suffix of the file beside it that says that the worker looks for notices.

A worker that does gets the signal to stop for a preemption late in its grace, since it
is about to see the notice and to end by itself.
"""

PREEMPTED = 75
"""Exit code of a worker that has saved and ends because of a preemption.

It counts as that, and not as a failure, once a notice of preemption is there.
"""


class Notice(NamedTuple):
    """What the launcher tells.

    Attributes:
        kind: ``preemption``: a node of the job will be taken away. ``stop``: this
            worker is being stopped.
        reason: Why, in one line.
        host: Host of the agent that it comes from.
        timestamp: Unix time in seconds at which that agent learned of it.
        grace: Seconds from then on until that node's workers are killed, `None` where
            nobody knows.
    """

    kind: str
    reason: str
    host: str
    timestamp: float
    grace: float | None


def notice() -> Notice | None:
    """Return the last notice to this worker, `None` if there is none.

    It costs a system call as long as there is none, so ask after every step::

        if (told := notice()) and told.kind == "preemption":
            save()
            sys.exit(PREEMPTED)
    """
    target = os.environ.get(NOTICE_FILE)
    if not target:
        return None
    _say_that_it_looks(target)
    try:
        with open(target, encoding="utf-8") as file:  # noqa: PTH123 - called often
            return notice_of(json.load(file))
    except FileNotFoundError:
        return None


def notice_of(told: Mapping[str, Any]) -> Notice:
    """Return the notice that is written so."""
    return Notice(*(told[name] for name in Notice._fields))


_looks: set[str] = set()


def _say_that_it_looks(target: str) -> None:
    """Leave a mark for the launcher, once."""
    if target not in _looks:
        _looks.add(target)
        with contextlib.suppress(OSError):
            open(target + ASKED, "a").close()  # noqa: PTH123 - as above
