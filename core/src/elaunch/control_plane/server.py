"""The server: HTTP over a UNIX socket that only this user can open."""

import errno
import html
import json
import os
import selectors
import socket
import socketserver
import threading
import traceback
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from elaunch.control_plane.handlers import (
    Request,
    Response,
    get_handler,
    get_handler_names,
)


BODY_LIMIT = 1024 * 1024
"""Bytes that a request's body may have."""

IDLE_TIMEOUT = 1.0
"""Seconds for which a connection may stand still."""

PREFIX = "/handler/"


class WorkerServer:
    """Answers requests until it is shut down.

    Args:
        path: Where the socket is made; only this user can open it.

    Raises:
        FileExistsError: If there is something else than a socket nobody listens at.
    """

    def __init__(self, path: str) -> None:
        _make_room(path)
        # It is not there before it listens, and only this user can open it.
        draft = Path(f"{path}.{os.getpid()}")
        self._server = _Server(str(draft), _Conversation, bind_and_activate=False)
        try:
            self._server.server_bind()
            draft.chmod(0o600)
            self._server.server_activate()
            Path(path).hardlink_to(draft)
        except BaseException:
            self._server.server_close()
            raise
        finally:
            draft.unlink(missing_ok=True)
        self._path = path
        self._wake, self._ending = socket.socketpair()
        self._thread = threading.Thread(
            target=self._serve, name="elaunch-worker-server", daemon=True
        )
        self._thread.start()

    def shutdown(self) -> None:
        """End it and remove the socket. Twice is fine."""
        if self._thread.is_alive():
            self._wake.close()
            self._thread.join()
            self._server.server_close()
            Path(self._path).unlink(missing_ok=True)

    def _serve(self) -> None:
        """Serve until the other end is closed; `serve_forever` looks twice a second."""
        ending = self._ending
        with ending, selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            selector.register(ending, selectors.EVENT_READ)
            while ending not in {key.fileobj for key, _ in selector.select()}:
                self._server.handle_request()


def _make_room(path: str) -> None:
    """Remove a socket that a dead worker left."""
    there = Path(path)
    if not there.exists():
        return
    if there.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(0.0)  # who is too busy to answer is there
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                there.unlink()
                return
    raise FileExistsError(
        f"{path!r} is in use; name another socket with TORCH_WORKER_SERVER_SOCKET, one "
        f"for each worker"
    )


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    timeout = 0.0  # who came may be gone again

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: who asks and goes away is no error of the worker."""


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_TIMEOUT

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/":
            names = (html.escape(name) for name in get_handler_names())
            items = "".join(f"<li>{PREFIX}{name}</li>" for name in names)
            page = f"<!doctype html><h1>elaunch worker</h1><ul>{items}</ul>\n"
            self._send(200, page.encode(), "text/html")
        elif path == PREFIX:
            content = json.dumps(get_handler_names()).encode()
            self._send(200, content, "application/json")
        else:
            self._send(404, b"there is '/' and '/handler/'\n", "text/plain")

    def do_POST(self) -> None:
        address = urlsplit(self.path)
        told = self.headers.get("Content-Length") or "0"
        length = int(told) if told.isascii() and told.isdigit() else -1
        if not 0 <= length <= BODY_LIMIT:
            self.close_connection = True
            self._send(413, b"the body has no length, or is too long\n", "text/plain")
            return
        body = self.rfile.read(length)
        try:
            handler = get_handler(address.path.removeprefix(PREFIX))
        except ValueError as error:
            self._send(404, f"{error}\n".encode(), "text/plain")
            return
        response = Response()
        try:
            handler(Request(body, dict(parse_qsl(address.query))), response)
        except Exception:  # noqa: BLE001 - a handler's fault is told, and not the worker's
            self._send(500, traceback.format_exc().encode(), "text/plain")
            return
        self._send(response.status, response.content, response.content_type)

    def _send(self, status: int, content: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        """Return who asks: over a UNIX socket nobody has a name."""
        return "local"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - theirs
        """Nothing: the worker's output is the worker's."""
