"""The fork server as a program: ``main.py`` of `client.launch`'s command line."""

from __future__ import annotations

import json
import os
import socket
import sys

from elaunch_spawn_local.fork_server import birth
from elaunch_spawn_local.fork_server.frames import pack
from elaunch_spawn_local.fork_server.server import Server


TYPE_CHECKING = False  # see `frames`
if TYPE_CHECKING:
    from typing import Any


def main(descriptor: int, agent: int) -> None:
    """Serve the agent at the other end of a socket; in a child, be a worker.

    Args:
        descriptor: Of the socket.
        agent: Process id of the agent.
    """
    born = serve(_connection(descriptor), agent)
    if born:
        from elaunch_spawn_local import python_worker

        python_worker.be(born)
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

    del sys.path[0]  # it was put there to find this very module
    connection = _connection(descriptor)
    handlers = birth.ignore_signals()
    wish = json.loads(wishes)
    answer = preload.prepare(wish["modules"], wish["path"], anyway=wish["anyway"])
    connection.sendall(pack(answer))
    if answer["told"] != "ready":
        os._exit(1)
    born = Server(connection, agent, handlers).serve()
    if born:
        python_worker.be(born)


def _connection(descriptor: int) -> socket.socket:
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)  # it was handed to this program, and no further
    return connection
