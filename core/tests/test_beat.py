"""``elaunch beat``: what a shell says is what its agent hears."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from elaunch.api import MessageKind, WorkerMessage
from elaunch.channel import CHANNEL
from elaunch.channel.decoding import MAX_DATAGRAM, decoded
from elaunch.cli import main
from elaunch.cli.beat import REASON_LIMIT


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    # Paths of sockets are short.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CHANNEL, "channel")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("channel")
        listening.settimeout(0)
        yield listening


def heard(agent: socket.socket) -> WorkerMessage:
    (message,) = decoded(agent.recv(MAX_DATAGRAM), 0, 0.0)
    return message


@pytest.mark.parametrize(
    ("words", "kind", "facts"),
    [
        ([], MessageKind.HEARTBEAT, {}),
        (
            ["--step", "7", "--step-time", "0.5", "loss=0.25", "n=3", "phase=a=b"],
            MessageKind.HEARTBEAT,
            {
                "step": 7,
                "step_time": 0.5,
                "values": {"loss": 0.25, "n": 3, "phase": "a=b"},
            },
        ),
        (["--progress", "1200"], MessageKind.PROGRESS, {"marker": 1200.0}),
        (["--no-restart", "no data"], MessageKind.NO_RESTART, {"reason": "no data"}),
        (["--exclude-node", ""], MessageKind.EXCLUDE_NODE, {"reason": ""}),
        (["--hold-scaling", "60"], MessageKind.HOLD_SCALING, {"limit": 60.0}),
        (["--release-scaling"], MessageKind.RELEASE_SCALING, {}),
        (["x=nan"], MessageKind.HEARTBEAT, {"values": {"x": "nan"}}),
        (
            ["--exclude-node", "Läufer \n" * 2000],
            MessageKind.EXCLUDE_NODE,
            {"reason": ("Läufer \\n" * 2000)[:REASON_LIMIT]},
        ),
    ],
)
def test_it_says_what_is_meant(
    agent: socket.socket, words: list[str], kind: MessageKind, facts: dict[str, Any]
) -> None:
    assert main(["beat", *words]) == 0
    assert heard(agent) == WorkerMessage(local_rank=0, kind=kind, time=0.0, **facts)


def test_begin_and_end_of_two_processes_are_of_one_section(
    agent: socket.socket,
) -> None:
    beat = f"{sys.executable} -m elaunch beat"
    script = f"{beat} --begin däta --limit 60 && {beat} --end däta && echo $$"
    ended = subprocess.run(
        ["sh", "-c", script],  # noqa: S607 - any shell
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    begin, end = heard(agent), heard(agent)

    assert (begin.kind, end.kind) == (MessageKind.SECTION, MessageKind.SECTION_END)
    assert begin.limit == 60
    assert begin.pid == int(ended.stdout)
    assert attrs.evolve(begin, kind=end.kind, limit=None) == end
    assert main(["beat", "--begin", "other"]) == 0
    assert heard(agent).token != begin.token


@pytest.mark.parametrize("path", [None, "", "missing", "file", "x" * 300])
@pytest.mark.parametrize("words", [[], ["--no-restart", "x"]])
def test_where_nobody_listens_the_script_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    path: str | None,
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    monkeypatch.delenv(CHANNEL, raising=False)
    if path is not None:
        monkeypatch.setenv(CHANNEL, path)

    assert main(["beat", *words]) == 0
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["loss"], "'loss' is no value: write NAME=VALUE"),
        (["=1"], "'=1' is no value"),
        (["--limit", "3"], "--limit is for --begin"),
        (["--end", "x", "--limit", "3"], "--limit is for --begin"),
        (["--begin", "x", "--limit", "0"], "--limit is seconds above 0, not 0"),
        (["--begin", "x", "--limit", "nan"], "--limit is seconds above 0, not nan"),
        (["--hold-scaling", "0"], "--hold-scaling is seconds above 0, not 0"),
        (["--hold-scaling", "1e30"], "--hold-scaling is seconds above 0, not 1e+30"),
        (["--hold-scaling", "9", "--release-scaling"], "not allowed with argument"),
        (["--release-scaling", "a=1"], "belong to a heartbeat"),
        (["--progress", "1", "--step", "2"], "belong to a heartbeat"),
        (["--begin", "x", "a=1"], "belong to a heartbeat"),
        (["--begin", "x", "--end", "x"], "not allowed with argument"),
        (["--step", "x"], "invalid int value"),
        (["--stepp", "1"], "unrecognized arguments: --stepp; did you mean '--step'?"),
    ],
)
def test_what_can_not_be_meant_is_refused(
    agent: socket.socket,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert main(["beat", *words]) == 2
    assert message in capfd.readouterr().err
    with pytest.raises(BlockingIOError):
        agent.recv(1)


def test_a_heartbeat_does_not_wait_for_an_agent_that_does_not_read(
    agent: socket.socket,
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
        writer.settimeout(0)
        writer.connect("channel")
        with contextlib.suppress(BlockingIOError):
            while True:
                writer.send(b"x")

    assert main(["beat"]) == 0
    assert agent.recv(1) == b"x"
    assert main(["beat", "--no-restart", os.devnull]) == 0
