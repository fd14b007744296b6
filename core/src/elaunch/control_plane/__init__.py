"""A door into a running worker: HTTP over a UNIX socket, for whoever debugs it.

Standard library only. A worker opens it where a variable names the socket::

    @worker_main()
    def main():
        ...

    $ curl --unix-socket /tmp/worker.sock -X POST http://worker/handler/dump_traceback
"""

from elaunch.control_plane.handlers import (
    Request,
    Response,
    get_handler,
    get_handler_names,
    register_handler,
)
from elaunch.control_plane.main import worker_main
from elaunch.control_plane.server import WorkerServer
from elaunch.control_plane.waits import wait_counter


_get_handler = get_handler
_get_handlers = get_handler_names
_register_handler = register_handler

__all__ = [
    "Request",
    "Response",
    "WorkerServer",
    "_get_handler",
    "_get_handlers",
    "_register_handler",
    "get_handler",
    "get_handler_names",
    "register_handler",
    "wait_counter",
    "worker_main",
]
