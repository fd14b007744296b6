"""The small HTTP server: what it takes for a request, and how it ends."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from elaunch.http_server import (
    CONNECTIONS_LIMIT,
    REQUEST_LIMIT,
    HttpServer,
    Request,
    Response,
    json_response,
)


class Echo:
    """Answers with what was asked; waits for the word if it is told to."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.asked = threading.Event()
        self.word = threading.Event()
        self.word.set()

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        self.asked.set()
        self.word.wait(20)
        if request.path == "/bug":
            raise RuntimeError("a bug")
        return json_response(200, {"path": request.path})


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def server(echo: Echo) -> Iterator[HttpServer]:
    made = HttpServer(socket.create_server(("127.0.0.1", 0)), echo, "echo")
    made.start()
    with contextlib.ExitStack() as stack:
        stack.callback(made.stop)
        stack.callback(echo.word.set)
        yield made


def connect(server: HttpServer) -> socket.socket:
    place = server._listener.getsockname()
    return socket.create_connection(place, timeout=20)


def said(own: socket.socket) -> bytes:
    told = b""
    with contextlib.suppress(ConnectionError):
        while more := own.recv(4096):
            told += more
    return told


def talk(server: HttpServer, *parts: bytes) -> bytes:
    with connect(server) as own:
        for part in parts:
            own.sendall(part)
        return said(own)


def test_a_request_is_handed_on_with_its_body(server: HttpServer, echo: Echo) -> None:
    head = b"POST /x?y=1 HTTP/1.1\r\nContent-Length: 4\r\nX-A:  b \r\n\r\n"
    told = talk(server, head + b"w", b"ord")

    assert told.startswith(b"HTTP/1.1 200 OK\r\n")
    assert told.endswith(b'\r\n\r\n{"path": "/x"}\n')
    (request,) = echo.requests
    assert request[:2] == ("POST", "/x")
    assert request.body == b"word"
    assert request.headers == {"content-length": "4", "x-a": "b"}
    assert request.peer.startswith("127.0.0.1:")


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: x",
        b"Content-Length: -1",
        "Content-Length: \u0663".encode(),
        b"Transfer-Encoding: chunked",
        f"Content-Length: {REQUEST_LIMIT}".encode(),
        b"Content-Length: 000000000000000000099999999999999999",
    ],
)
def test_a_body_of_unknown_or_great_length_is_refused(
    server: HttpServer, echo: Echo, head: bytes
) -> None:
    told = talk(server, b"POST / HTTP/1.1\r\n" + head + b"\r\n\r\n")

    assert told.startswith(b"HTTP/1.1 400 ")
    assert echo.requests == []


def test_a_body_that_does_not_come_ends_the_conversation(
    server: HttpServer, echo: Echo
) -> None:
    with connect(server) as own:
        own.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort")
        own.shutdown(socket.SHUT_WR)

        assert said(own) == b""
    assert echo.requests == []


def test_a_bug_is_told_and_logged_and_the_server_goes_on(
    server: HttpServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert talk(server, b"GET /bug HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 500 ")
    assert "GET /bug failed" in caplog.text
    assert talk(server, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_who_has_asked_is_answered_before_it_ends(
    server: HttpServer, echo: Echo
) -> None:
    echo.word.clear()
    with connect(server) as silent, connect(server) as own:
        own.sendall(b"GET /last HTTP/1.1\r\n\r\n")
        assert echo.asked.wait(20)
        ending = threading.Thread(target=server.stop)
        ending.start()
        echo.word.set()
        ending.join(20)

        assert not ending.is_alive()
        assert said(own).endswith(b'{"path": "/last"}\n')
        assert said(silent) == b""
    assert not server.is_busy


def test_who_has_asked_makes_no_room_for_others(server: HttpServer, echo: Echo) -> None:
    echo.word.clear()
    with connect(server) as own, contextlib.ExitStack() as stack:
        own.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        assert echo.asked.wait(20)
        silent = [
            stack.enter_context(connect(server)) for _ in range(CONNECTIONS_LIMIT)
        ]
        assert said(silent[0]) == b""
        echo.word.set()

        assert said(own).endswith(b'{"path": "/slow"}\n')


def test_a_process_of_this_host_is_told_by_its_id(tmp_path: Path) -> None:
    echo, listener = Echo(), socket.socket(socket.AF_UNIX)
    path = os.path.relpath(tmp_path / "s")  # shorter than the limit
    listener.bind(path)
    listener.listen()
    server = HttpServer(listener, echo, "echo")
    server.start()
    with socket.socket(socket.AF_UNIX) as own:
        own.settimeout(20)
        own.connect(path)
        own.sendall(b"GET / HTTP/1.1\r\n\r\n")
        said(own)
    server.stop()

    (request,) = echo.requests
    assert request.peer == f"process {os.getpid()} of user {os.getuid()}"
