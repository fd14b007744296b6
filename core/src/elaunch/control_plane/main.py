"""What a worker's main function is wrapped in."""

import contextlib
import os
from collections.abc import Iterator

from elaunch.control_plane.server import WorkerServer
from elaunch.worker.error_file import errors_recorded


SOCKETS = {
    "TORCH_WORKER_SERVER_SOCKET": (
        "UNIX socket that `elaunch.control_plane.worker_main` opens, see "
        "[doors](around.md#doors-into-workers)"
    ),
    "ELAUNCH_WORKER_SERVER_SOCKET": (
        "the same, by elaunch's name for it; the first that is set counts"
    ),
}
"""Variables that name the socket."""


@contextlib.contextmanager
def worker_main() -> Iterator[None]:
    """Open the worker's door while a block or a function runs, and record its error.

    It is a context manager and a decorator: ``@worker_main()``. The door is opened
    where TORCH_WORKER_SERVER_SOCKET or ELAUNCH_WORKER_SERVER_SOCKET names a socket.

    Raises:
        FileExistsError: If something else is at the place of the socket.
    """
    with errors_recorded(), contextlib.ExitStack() as stack:
        path = next(filter(None, map(os.environ.get, SOCKETS)), None)
        if path:
            server = WorkerServer(path)
            stack.callback(server.shutdown)
        yield
