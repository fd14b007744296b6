"""A door into workers, see `elaunch.control_plane`."""

from elaunch.control_plane import (
    worker_main,
)


__all__ = [
    "TORCH_WORKER_SERVER_SOCKET",
    "worker_main",
]

TORCH_WORKER_SERVER_SOCKET = "TORCH_WORKER_SERVER_SOCKET"
"""Variable that names the socket."""
