"""What a worker can be asked, by name: its handlers."""

import faulthandler
import json
import tempfile
from collections.abc import Callable, Mapping

from elaunch.control_plane import waits


class Request:
    """What was asked.

    Attributes:
        body: The body, as it came.
        params: Parameters of the address.
    """

    def __init__(self, body: bytes = b"", params: Mapping[str, str] = {}) -> None:
        self.body = body
        self.params = params

    def get_param(self, name: str) -> str:
        """Return a parameter; the empty text if it was not given."""
        return self.params.get(name, "")


class Response:
    """What is answered: nothing and 200, until a handler says otherwise.

    Attributes:
        content: The body.
        content_type: What it is.
        status: Status of HTTP.
    """

    def __init__(self) -> None:
        self.content = b""
        self.content_type = "text/plain"
        self.status = 200

    def set_content(self, content: str | bytes, content_type: str) -> None:
        """Answer with this."""
        self.content = content.encode() if isinstance(content, str) else content
        self.content_type = content_type

    def set_status(self, status: int) -> None:
        """Answer with this status."""
        self.status = status


Handler = Callable[[Request, Response], None]


def _ping(_: Request, response: Response) -> None:
    response.set_content("pong", "text/plain")


def _dump_traceback(_: Request, response: Response) -> None:
    with tempfile.TemporaryFile() as file:  # faulthandler writes to descriptors only
        faulthandler.dump_traceback(file=file, all_threads=True)
        file.seek(0)
        response.set_content(file.read(), "text/plain")


def _wait_counter_values(_: Request, response: Response) -> None:
    response.set_content(json.dumps(waits.values()), "application/json")


_handlers: dict[str, Handler] = {
    "ping": _ping,
    "dump_traceback": _dump_traceback,
    "wait_counter_values": _wait_counter_values,
}


def register_handler(name: str, handler: Handler) -> None:
    """Let a worker be asked something else.

    Args:
        name: What it is asked by: letters, digits and ``_``, ``-`` or ``.``.
        handler: Called with the request and the response, in a thread of the server.

    Raises:
        ValueError: If the name can't be one, or is another's already.
    """
    if not name or not name.replace("-", "").replace(".", "").isidentifier():
        raise ValueError(f"a handler's name can't be {name!r}")
    if name in _handlers:
        raise ValueError(f"there is a handler {name!r} already")
    _handlers[name] = handler


def get_handler(name: str) -> Handler:
    """Return a handler.

    Raises:
        ValueError: If there is none of this name.
    """
    if name not in _handlers:
        known = ", ".join(map(repr, sorted(_handlers)))
        raise ValueError(f"there is no handler {name!r} (handlers: {known})")
    return _handlers[name]


def get_handler_names() -> list[str]:
    """Return the names of all handlers."""
    return sorted(_handlers)
