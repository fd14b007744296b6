"""The health check: what it answers, whom, and how much of it."""

import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from elaunch import LaunchConfig, elastic_launch, http_server
from elaunch.health import (
    HealthCheckServer,
    create_healthcheck_server,
    parse_place,
)
from elaunch.launcher.switches import HEALTH_CHECK_PORT


Answer = tuple[int, dict[str, Any]]


def ask(server: HealthCheckServer, path: str = "/", method: str = "GET") -> Answer:
    url = f"http://127.0.0.1:{server.port}{path}"
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - http
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def talk(server: HealthCheckServer, data: bytes) -> bytes:
    """Send some bytes; return all that is answered."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as own:
        own.sendall(data)
        said = b""
        while more := own.recv(4096):
            said += more
        return said


class Progress:
    def __init__(self) -> None:
        self.last = time.time()

    def __call__(self) -> float:
        return self.last


@pytest.fixture
def progress() -> Progress:
    return Progress()


@pytest.fixture
def server(progress: Progress) -> Iterator[HealthCheckServer]:
    made = HealthCheckServer(progress, 0, 60, facts=lambda: {"state": "running"})
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize("path", ["/", "/healthz", "/healthz?verbose"])
def test_who_goes_on_is_healthy(
    server: HealthCheckServer, progress: Progress, path: str
) -> None:
    status, told = ask(server, path)
    age = told.pop("age")

    assert status == 200
    assert 0 <= age < 60
    assert told == {"healthy": True, "state": "running", "last_progress": progress.last}


def test_who_stands_still_is_not(server: HealthCheckServer, progress: Progress) -> None:
    progress.last -= 61
    status, told = ask(server)

    assert status == 503
    assert told["healthy"] is False
    assert told["age"] > 60


def test_who_can_not_tell_is_not_either() -> None:
    def broken() -> float:
        raise OSError("gone")

    server = HealthCheckServer(broken, 0)
    server.start()
    status, told = ask(server)
    server.stop()

    assert (status, told) == (503, {"healthy": False, "error": "OSError: gone"})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/else", 404), ("POST", "/else", 404), ("POST", "/", 405)],
)
def test_there_is_nothing_else(
    server: HealthCheckServer, method: str, path: str, status: int
) -> None:
    assert ask(server, path, method)[0] == status


@pytest.mark.parametrize(
    "data",
    [b"nonsense\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000],
)
def test_what_is_no_request_or_too_long_is_refused(
    server: HealthCheckServer, data: bytes
) -> None:
    try:
        said = talk(server, data)
    except ConnectionError:
        said = b""  # it has closed before all had come

    assert said.startswith(b"HTTP/1.1 400 ") or not said
    assert ask(server)[0] == 200


def test_who_says_nothing_is_sent_away(
    server: HealthCheckServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "REQUEST_TIMEOUT", 0.05)
    try:
        said = talk(server, b"GET / HT")
    except ConnectionError:
        said = b""

    assert said == b""


def test_who_says_nothing_keeps_nobody_from_asking(
    server: HealthCheckServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "CONNECTIONS_LIMIT", 2)
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", server.port), timeout=20)
            )
            for _ in range(3)
        ]
        status, _ = ask(server)
        silent[2].sendall(b"GET / HTTP/1.1\r\n\r\n")

        assert status == 200
        assert [own.recv(4096) for own in silent[:2]] == [b"", b""]
        assert silent[2].recv(4096).startswith(b"HTTP/1.1 200 ")


def test_it_outlives_a_shortage_of_threads(
    server: HealthCheckServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        try:
            said = talk(server, b"GET / HTTP/1.1\r\n\r\n")
        except ConnectionError:
            said = b""

    assert said == b""
    assert ask(server)[0] == 200


def test_it_listens_at_this_host_alone_unless_told_otherwise(
    server: HealthCheckServer,
) -> None:
    assert server._listener
    assert server._listener.getsockname()[0] == "127.0.0.1"


def test_a_place_that_is_taken_is_an_error(server: HealthCheckServer) -> None:
    with pytest.raises(OSError, match="in use"):
        create_healthcheck_server(time.time, server.port, 60).start()


def test_its_thread_ends_with_it_also_while_somebody_asks() -> None:
    server = create_healthcheck_server(time.time, 0, 60)
    server.start()
    assert server._server
    thread = server._server._thread
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as own:
        own.sendall(b"GET / HT")
        server.stop()
        server.stop()

    assert not thread.is_alive()
    assert thread not in threading.enumerate()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("8080", ("127.0.0.1", 8080)),
        (":8080", ("127.0.0.1", 8080)),
        (" 0.0.0.0:80 ", ("0.0.0.0", 80)),  # noqa: S104 - asked for
        ("node-1:80", ("node-1", 80)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_a_place_is_read(text: str, place: tuple[str, int]) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize(
    "text", ["", "x", "host:", "host:x", "0", "65536", "-1", "::1:80", "1:2:3", "1.5"]
)
def test_what_is_no_place_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_place(text)


def agents_ports() -> list[int]:
    """Return the ports at which the agent of this worker listens."""
    [*_, agent] = psutil.Process().parents()[:2]
    held = agent.net_connections("tcp")
    return [c.laddr.port for c in held if c.status == psutil.CONN_LISTEN]


def test_where_nobody_asked_for_it_nothing_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ports(place: str, number: int) -> list[int]:
        config = LaunchConfig(
            *(1, 1, 1),
            rdzv_backend="file",
            rdzv_endpoint=f"{tmp_path}/{number}",
            bootstrap="none",
            health_check=place,
        )
        found: list[int] = elastic_launch(config, agents_ports)()[0]
        return found

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert ports("", 1) == []
    assert ports(str(port), 2) == [port]
    monkeypatch.setenv(HEALTH_CHECK_PORT, "")
    assert ports("", 3) == []
