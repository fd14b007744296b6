"""``elaunch etcd`` as a real process: it serves, is stopped, and leaves nothing."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import etcd3gw
import psutil
import pytest
from etcd3gw.exceptions import ConnectionFailedError

from elaunch.api import UsageError
from elaunch_rdzv_etcd.local.command import EtcdCommand


pytestmark = pytest.mark.etcd

_LIMIT = 30.0  # seconds

Served = Callable[..., "Command"]


class Command:
    """``elaunch etcd``, which has said where it serves."""

    def __init__(self, arguments: tuple[str, ...], temporary: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "elaunch", "etcd", *arguments],
            env={**os.environ, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.first = self.process.stdout.readline()
        self.ports = [int(port) for port in re.findall(r":(\d+)\b", self.first)]

    def servers(self) -> list[psutil.Process]:
        """Return the etcd processes, in no order."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "--data-dir" in child.cmdline()]

    def ends(self, signum: int | None = None) -> tuple[int, str]:
        """Wait for the end; return the status and stderr."""
        if signum is not None:
            self.process.send_signal(signum)
        _, errors = self.process.communicate(timeout=_LIMIT)
        return self.process.returncode, errors


def client(port: int) -> etcd3gw.Etcd3Client:
    return etcd3gw.client(host="127.0.0.1", port=port, timeout=_LIMIT)


def read_after_election(port: int) -> list[bytes]:
    deadline = time.monotonic() + _LIMIT
    while True:
        try:
            return client(port).get("key")
        except ConnectionFailedError:  # nobody leads yet
            assert time.monotonic() < deadline


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    directory = tmp_path / "tmp"
    directory.mkdir()
    return directory


@pytest.fixture
def serve(temporary: Path) -> Iterator[Served]:
    """Run the command until the end of the test."""
    commands: list[Command] = []

    def start(*arguments: str) -> Command:
        commands.append(Command(arguments, temporary))
        return commands[-1]

    yield start
    for command in commands:
        command.process.kill()
        command.process.communicate()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_leaves_nothing(
    serve: Served, temporary: Path, signum: int
) -> None:
    command = serve("--port", "0")
    (port,) = command.ports
    client(port).put("key", "value")
    servers = command.servers()
    assert command.process.stdout is not None
    told = [command.process.stdout.readline() for _ in range(2)]

    assert f"etcd serves at 127.0.0.1:{port}; its data go when" in command.first
    assert f"--rdzv-backend etcd --rdzv-endpoint 127.0.0.1:{port} --rdz" in told[1]
    assert command.ends(signum) == (0, "")
    assert [server.is_running() for server in servers] == [False]
    assert list(temporary.iterdir()) == []


def test_it_serves_at_the_port_that_was_asked_for_and_keeps_the_data(
    serve: Served, tmp_path: Path, temporary: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ("--port", str(port), "--data-dir", str(tmp_path / "data"))
    command = serve(*arguments)
    client(port).put("key", "value")
    ended = command.ends(signal.SIGTERM)
    serve(*arguments)

    assert command.ports == [port]
    assert f"its data are in {tmp_path / 'data'};" in command.first
    assert ended == (0, "")
    assert client(port).get("key") == [b"value"]
    assert list(temporary.iterdir()) == []


def test_a_port_that_is_taken_ends_it(serve: Served, temporary: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, errors = serve("--port", str(port)).ends()

    assert status == 4
    assert errors == (
        f"elaunch: error: etcd can't listen at '127.0.0.1:{port}', where another "
        f"process does; choose another port, or 0 for any free one\n"
    )
    assert list(temporary.iterdir()) == []


def test_an_etcd_that_is_killed_ends_it(serve: Served, temporary: Path) -> None:
    command = serve("--port", "0")
    (server,) = command.servers()
    server.kill()
    status, errors = command.ends()

    assert status == 4
    assert errors.count("\n") == 1
    assert "was ended by signal 9" in errors
    assert list(temporary.iterdir()) == []


def test_a_cluster_goes_on_while_most_of_it_lives(
    serve: Served, temporary: Path
) -> None:
    command = serve("--port", "0", "--members", "3")
    ports = command.ports
    client(ports[0]).put("key", "value")
    first, second, _ = command.servers()
    first.kill()
    assert command.process.stderr is not None
    while "2 of 3 members go on" not in (line := command.process.stderr.readline()):
        assert line
    (alive,) = {p.laddr.port for p in second.net_connections("tcp")} & set(ports)
    value = read_after_election(alive)
    second.kill()
    status, errors = command.ends()

    assert value == [b"value"]
    assert status == 4
    assert "1 of 3 members are too few, so all end" in errors
    assert "was ended by signal 9" in errors
    assert list(temporary.iterdir()) == []


def test_a_signal_while_it_starts_ends_it(temporary: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    silent = tmp_path / "etcd"
    silent.write_text(
        f'#!/bin/sh\n[ "$1" = --help ] && echo "  --data-dir DIR" && exit\n'
        f"echo started > {started}\nexec sleep 1000\n"
    )
    silent.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-m", "elaunch", "etcd", "--port", "0"],
        env={
            **os.environ,
            "TMPDIR": str(temporary),
            "ELAUNCH_ETCD_BINARY": str(silent),
        },
    ) as process:
        started.read_text()
        process.send_signal(signal.SIGINT)

        assert process.wait(_LIMIT) == 0
    assert list(temporary.iterdir()) == []


def test_a_directory_without_a_name_is_none() -> None:
    with pytest.raises(UsageError, match="'' names no directory; leave the flag out"):
        EtcdCommand("elaunch etcd").run(["--data-dir", ""])
