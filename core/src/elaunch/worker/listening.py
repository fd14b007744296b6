"""Callbacks for notices: the agent sends each to whoever has a socket beside its own.

A process that binds a datagram socket at the path of the channel with a dot and
anything else after it gets the JSON of the notice file as one datagram.
"""

import contextlib
import itertools
import json
import os
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from elaunch.worker.channel import CHANNEL
from elaunch.worker.notice_file import Notice, notice, notice_of


if TYPE_CHECKING:  # imported where there is a channel
    import socket


Callback = Callable[[Notice], object]

MAX_NOTICE = 16 * 1024
"""Bytes of a notice at most."""

_numbers = itertools.count()


def on_notice(callback: Callback) -> None:
    """Have a function called with each notice to this worker, as it comes.

    It is called in a thread of its own, also while the others compute or wait, so it
    should note the notice for them and not do their work::

        told = threading.Event()
        on_notice(lambda notice: told.set())

    A notice that is already there is told, too. A process that is forked later hears
    nothing. Where there is no agent, nothing is ever told.

    Args:
        callback: What to call; whatever it raises is printed.
    """
    path = os.environ.get(CHANNEL)
    hears = _bound(f"{path}.{os.getpid()}-{next(_numbers)}") if path else None
    if hears:
        listener = threading.Thread(
            target=_listen, args=(hears, callback), name="elaunch-notices", daemon=True
        )
        listener.start()


def _bound(path: str) -> "socket.socket | None":
    import socket  # few programs that import this are workers

    if not hasattr(socket, "AF_UNIX"):
        return None
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        found.bind(path)
    except (OSError, ValueError):  # the agent is gone, or the path is too long
        found.close()
        return None
    return found


def _listen(hears: "socket.socket", callback: Callback) -> None:
    last: Notice | None = None
    # It listens already, so none is missed between the two.
    found: Notice | None = None
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = notice()
    while True:
        if found and found != last:
            last = found
            try:
                callback(found)
            except Exception:  # noqa: BLE001 - the next notice is to be told, too
                traceback.print_exc()
        found = None
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found = notice_of(json.loads(hears.recv(MAX_NOTICE)))
