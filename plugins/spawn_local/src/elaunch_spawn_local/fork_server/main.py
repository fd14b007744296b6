"""The fork server as a program: ``main.py`` of `client.launch`'s command line."""

from __future__ import annotations

import json
import os
import socket
import sys
from signal import SIG_IGN

from elaunch_spawn_local.fork_server import birth
from elaunch_spawn_local.fork_server.frames import pack
from elaunch_spawn_local.fork_server.server import Server


TYPE_CHECKING = False  # see `frames`
if TYPE_CHECKING:
    from typing import Any


def main(descriptor: int, agent: int) -> None:
    """Serve the agent at the other end of a socket.

    Args:
        descriptor: Of the socket.
        agent: Process id of the agent.
    """
    serve(_connection(descriptor), agent)
    # The agent waits for the end, and an interpreter takes its time to tidy up.
    os._exit(0)


def serve(connection: socket.socket, agent: int) -> dict[str, Any] | None:
    """Serve; return what to be in a child that is a Python worker, else None."""
    handlers = birth.ignore_signals()
    return Server(connection, agent, handlers).serve()


def main_with(descriptor: int, agent: int, wishes: str) -> None:
    """Import modules, tell whether that went well, and do as `main` does.

    Args:
        descriptor: Of the socket.
        agent: Process id of the agent.
        wishes: As JSON: ``modules`` to import, ``path`` to look for them first, and
            whether to go on ``anyway`` if they left what does not survive a fork.
    """
    from elaunch_spawn_local import python_worker
    from elaunch_spawn_local.fork_server import preload

    sys.path.pop()  # where this very module was found
    connection = _connection(descriptor)
    handlers = birth.ignore_signals()
    prctl = birth.prctl()
    birth.become_subreaper(prctl)
    # While it imports it hears nobody, so the kernel looks after it.
    birth.die_with_thread(prctl, dies=True)
    wish = json.loads(wishes)
    answer = preload.prepare(wish["modules"], wish["path"], anyway=wish["anyway"])
    birth.die_with_thread(prctl, dies=False)
    # Handlers that the modules have set are for the workers.
    handlers |= {n: h for n, h in birth.ignore_signals().items() if h != SIG_IGN}
    server = Server(connection, agent, handlers)
    connection.sendall(pack(answer))
    if answer["told"] != "ready":
        server.end_all()
    born = server.serve()
    if born is None:
        os._exit(0)  # no exit hook of the modules: those are for the workers
    python_worker.be(born)


def _connection(descriptor: int) -> socket.socket:
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)  # it was handed to this program, and no further
    return connection
