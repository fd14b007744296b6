"""What a worker tells its agent, and that no agent can hurt it: real sockets."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from elaunch import worker
from elaunch.channel.decoding import MAX_DATAGRAM, decoded
from elaunch.notice import Notice, NoticeKind
from elaunch.worker import channel as client
from elaunch.worker import telling
from elaunch.worker.notice_file import NOTICE_FILE


SOON = 60.0


@attrs.define(eq=False)
class Agent:
    """An agent's end of the channel, which reads only when it is told to."""

    path: Path
    socket: socket.socket
    channel: client.Channel

    def read(self) -> dict[str, Any]:
        """Return the next message."""
        data = self.socket.recv(MAX_DATAGRAM + 1)
        assert list(decoded(data, 0, 0.0)), data  # the agent takes it
        told: dict[str, Any] = json.loads(data)
        return told

    def read_all(self) -> list[dict[str, Any]]:
        """Return whatever lies there."""
        found = []
        self.socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.read())
        self.socket.settimeout(SOON)
        return found

    def notify(self, listener: Path, data: bytes) -> None:
        self.socket.sendto(data, str(listener))

    def listeners(self, count: int) -> list[Path]:
        deadline = time.monotonic() + SOON
        while True:
            found = sorted(self.path.parent.glob(f"{self.path.name}.*"))
            if len(found) == count:
                return found
            assert time.monotonic() < deadline, found


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    # Paths of sockets are short.
    monkeypatch.chdir(tmp_path)
    path = Path("channel")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(SOON)
        monkeypatch.setenv(client.CHANNEL, str(path))
        monkeypatch.setattr(client, "BEAT_INTERVAL", 0.0)
        # A thread of a test before may still be about to end.
        channel = client.Channel()
        monkeypatch.setattr(telling, "channel", channel)
        yield Agent(path, listening, channel)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(client.CHANNEL, raising=False)
    monkeypatch.setattr(telling, "channel", client.Channel())


def say_everything() -> None:
    worker.heartbeat()
    worker.heartbeat(step=1, step_time=0.1, loss=0.5)
    with worker.section("data"), worker.expires(5):
        worker.progress(3)
    worker.no_restart("a reason")
    worker.exclude_node("another one")
    with worker.hold_scaling(5):
        worker.release_scaling()
    worker.on_notice(print)


def fill(agent: Agent) -> int:
    """Fill the socket with heartbeats; return how many it holds."""
    for step in range(10_000):
        worker.heartbeat(step=step)
    held = len(agent.read_all())
    assert held < 10_000
    for step in range(10_000):
        worker.heartbeat(step=step)
    return held


@pytest.mark.parametrize(
    ("say", "told"),
    [
        (worker.heartbeat, {"kind": "heartbeat"}),
        (
            lambda: worker.heartbeat(7, 0.25, loss=1.5, phase="warm-up"),
            {
                "kind": "heartbeat",
                "step": 7,
                "step_time": 0.25,
                "values": {"loss": 1.5, "phase": "warm-up"},
            },
        ),
        (lambda: worker.heartbeat(0, 0), {"kind": "heartbeat", "step": 0}),
        # A clock was set back meanwhile, and the step is over all the same.
        (lambda: worker.heartbeat(3, -0.5), {"kind": "heartbeat", "step": 3}),
        (lambda: worker.heartbeat(3, 1e300), {"kind": "heartbeat", "step": 3}),
        (lambda: worker.progress(1200), {"kind": "progress", "marker": 1200}),
        (lambda: worker.progress(0.5), {"kind": "progress", "marker": 0.5}),
        (
            lambda: worker.no_restart("the data is gone"),
            {"kind": "no_restart", "reason": "the data is gone"},
        ),
        (
            lambda: worker.exclude_node("ECC errors"),
            {"kind": "exclude_node", "reason": "ECC errors"},
        ),
        (lambda: worker.hold_scaling(600), {"kind": "hold_scaling", "limit": 600.0}),
        (worker.release_scaling, {"kind": "release_scaling"}),
    ],
)
def test_each_word_is_one_line(
    agent: Agent, say: Callable[[], None], told: dict[str, Any]
) -> None:
    say()

    assert agent.read().items() >= told.items()


def test_a_section_is_told_when_it_begins_and_when_it_ends(agent: Agent) -> None:
    with worker.section("checkpoint", limit=600):
        begin = agent.read()
        with worker.expires(5):
            inner = agent.read()
        assert agent.read()["token"] == inner["token"]
    end = agent.read()

    assert begin == {
        "kind": "section",
        "name": "checkpoint",
        "limit": 600.0,
        "token": begin["token"],
        "pid": os.getpid(),
    }
    assert (inner["name"], inner["limit"]) == ("", 5.0)
    assert inner["token"] != begin["token"]
    assert end == {
        "kind": "section_end",
        "name": "checkpoint",
        "token": begin["token"],
        "pid": os.getpid(),
    }


def test_a_section_ends_also_with_an_exception(agent: Agent) -> None:
    with contextlib.suppress(KeyError), worker.section("data"):
        raise KeyError

    assert [told["kind"] for told in agent.read_all()] == ["section", "section_end"]


def test_a_function_can_be_a_section_and_call_itself(agent: Agent) -> None:
    @worker.section("recursive")
    def count(down: int) -> int:
        return count(down - 1) + 1 if down else 0

    assert count(2) == 2
    told = agent.read_all()
    tokens = [each["token"] for each in told]
    assert [each["kind"] for each in told] == ["section"] * 3 + ["section_end"] * 3
    assert tokens[3:] == tokens[2::-1]


def test_one_section_can_be_entered_again_inside(agent: Agent) -> None:
    again = worker.section("again")
    with again, again:
        pass

    tokens = [each["token"] for each in agent.read_all()]
    assert tokens[2:] == tokens[1::-1]
    assert len({*tokens}) == 2


@pytest.mark.usefixtures("nobody")
def test_where_nobody_listens_nothing_happens() -> None:
    say_everything()


@pytest.mark.parametrize("path", ["", "missing", "file", "x" * 200, "a\0b"])
def test_a_wrong_path_hurts_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    if "\0" in path:  # no variable can have it
        monkeypatch.setattr(os, "environ", {client.CHANNEL: path})
    else:
        monkeypatch.setenv(client.CHANNEL, path)
    monkeypatch.setattr(telling, "channel", client.Channel())
    say_everything()


def test_an_agent_that_goes_hurts_nobody(agent: Agent) -> None:
    worker.heartbeat()
    agent.socket.close()
    say_everything()

    assert not agent.channel.is_open


def test_a_program_that_closes_all_descriptors_is_heard_and_keeps_its_files(
    agent: Agent, tmp_path: Path
) -> None:
    worker.heartbeat(1)
    assert agent.channel._socket
    number = agent.channel._socket.fileno()
    os.close(number)
    worker.heartbeat(2)
    again = agent.channel._socket.fileno()
    with (tmp_path / "file").open("w") as file:
        os.dup2(file.fileno(), again)
        worker.heartbeat(3)
        os.fstat(again)
        os.close(again)

        assert [told["step"] for told in agent.read_all()] == [1, 2, 3]
        assert agent.channel._socket.fileno() != again


def test_its_descriptor_is_none_that_a_program_counts_on(agent: Agent) -> None:
    worker.heartbeat()

    assert agent.channel._socket
    assert agent.channel._socket.fileno() > 100
    assert not agent.channel._socket.get_inheritable()


def test_heartbeats_that_find_no_room_are_left_out_and_take_no_time(
    agent: Agent,
) -> None:
    held = fill(agent)

    assert [told["step"] for told in agent.read_all()] == [*range(held)]
    worker.heartbeat(step=77)
    assert agent.read()["step"] == 77


def test_what_counts_is_said_as_soon_as_there_is_room_and_in_its_order(
    agent: Agent,
) -> None:
    held = fill(agent)
    with worker.section("open"):
        worker.progress(1)
        worker.no_restart("first")
        worker.exclude_node("second")
        worker.heartbeat(step=-1)  # of which another one follows
        told = [agent.read() for _ in range(held + 4)]
        kinds = [each["kind"] for each in told]

        assert kinds == ["heartbeat"] * held + [
            *("section", "progress", "no_restart", "exclude_node")
        ]
    assert agent.read()["kind"] == "section_end"


def test_a_hold_may_be_a_context_that_releases_it_at_its_end(agent: Agent) -> None:
    with worker.hold_scaling(600):
        assert [each["kind"] for each in agent.read_all()] == ["hold_scaling"]

    assert agent.read() == {"kind": "release_scaling"}


def test_who_releases_and_holds_again_is_heard_in_that_order(agent: Agent) -> None:
    """However little room there is: nodes come in because of the release."""
    worker.hold_scaling(1)
    held = fill(agent)
    for seconds in (2, 3, 4):
        worker.release_scaling()
        worker.hold_scaling(seconds)
    told = [agent.read() for _ in range(held + 2)][held:]

    assert told[0] == {"kind": "release_scaling"}
    assert told[1] == {"kind": "hold_scaling", "limit": 4.0}
    assert agent.read_all() == []


def test_what_is_said_later_does_not_overtake_what_waits(agent: Agent) -> None:
    held = fill(agent)
    worker.progress(1)
    with agent.channel._lock:  # nobody delivers it, though there is room
        for _ in range(held):
            agent.read()
        worker.no_restart("later")

    assert [agent.read()["kind"] for _ in range(2)] == ["progress", "no_restart"]


def test_a_section_that_nobody_has_heard_of_is_not_told_at_all(agent: Agent) -> None:
    held = fill(agent)
    for _ in range(3 * client.MAX_KEPT):
        with worker.section("short"):
            pass
    worker.progress(1)

    kinds = [agent.read()["kind"] for _ in range(held + 1)]
    assert kinds == ["heartbeat"] * held + ["progress"]


def test_what_waits_is_bounded(agent: Agent) -> None:
    held = fill(agent)
    with contextlib.ExitStack() as stack:
        for number in range(2 * client.MAX_KEPT):
            stack.enter_context(worker.section(str(number)))
        told = [agent.read() for _ in range(held + client.MAX_KEPT)]

        assert [each["name"] for each in told[held:]] == [
            str(number) for number in range(client.MAX_KEPT)
        ]
        worker.progress(-1)
        assert agent.read()["marker"] == -1


def test_of_what_waits_the_last_word_counts(agent: Agent) -> None:
    held = fill(agent)
    for number in range(2 * client.MAX_KEPT):
        worker.progress(number)
        worker.no_restart(f"reason {number}")

    told = [agent.read() for _ in range(held + 2)][held:]
    last = 2 * client.MAX_KEPT - 1
    assert told[0]["marker"] == last
    assert told[1]["reason"] == f"reason {last}"
    worker.progress(0)
    assert agent.read()["marker"] == 0


@pytest.mark.parametrize("ends", ["gone", "stopped"])
def test_an_agent_that_does_not_read_holds_up_no_end(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setattr(client, "EXIT_PATIENCE", 0.01)
    fill(agent)
    worker.progress(1)
    if ends == "gone":
        agent.socket.close()
    agent.channel._deliver_at_exit()

    assert bool(agent.channel._kept) is (ends == "stopped")


def test_what_a_worker_says_last_is_said_before_it_ends(agent: Agent) -> None:
    """Also where there is no room when it says so."""
    code = (
        "from elaunch import worker\n"
        "from elaunch.worker import channel\n"
        "channel.BEAT_INTERVAL = 0.0\n"
        "for _ in range(10_000): worker.heartbeat()\n"
        "worker.no_restart('last words')\n"
        "print('said', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "said\n"
        told = agent.read()
        while told["kind"] == "heartbeat":
            told = agent.read()

    assert told["reason"] == "last words"
    assert process.returncode == 0


def test_too_many_heartbeats_are_not_sent(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "BEAT_INTERVAL", 3600.0)
    for step in range(5):
        worker.heartbeat(step=step)

    assert [told["step"] for told in agent.read_all()] == [0]


def test_a_forked_process_has_a_channel_of_its_own(agent: Agent) -> None:
    """And does not end a section in which it was born."""
    with worker.section("outer"):
        begun = agent.read()
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                os.closerange(3, 256)  # as a daemon does that is thorough
                worker.progress(5)
            os._exit(0)
        assert agent.read()["marker"] == 5
        os.waitpid(child, 0)
    end = agent.read()

    assert (end["kind"], end["token"]) == ("section_end", begun["token"])
    assert agent.read_all() == []


def test_a_forked_process_does_not_end_the_section_of_its_parent(
    agent: Agent,
) -> None:
    section = worker.section("outer")
    section.__enter__()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            section.__exit__(None, None, None)
            worker.progress(1)
        os._exit(0)
    os.waitpid(child, 0)

    assert [told["kind"] for told in agent.read_all()] == ["section", "progress"]


def test_a_forked_process_does_not_release_what_its_parent_holds(agent: Agent) -> None:
    hold = worker.hold_scaling(600)
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            hold.__exit__(None, None, None)
            worker.progress(1)
        os._exit(0)
    os.waitpid(child, 0)

    assert [told["kind"] for told in agent.read_all()] == ["hold_scaling", "progress"]


def test_a_process_that_is_forked_while_another_thread_speaks_can_speak(
    agent: Agent,
) -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with agent.channel._lock:
            held.set()
            release.wait(SOON)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(SOON)
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            worker.progress(5)
        os._exit(0)
    assert agent.read()["marker"] == 5
    os.waitpid(child, 0)
    release.set()
    holder.join()


def test_the_handler_of_a_signal_can_speak_while_its_thread_does(agent: Agent) -> None:
    before = signal.signal(signal.SIGUSR2, lambda *_: worker.no_restart("handled"))
    try:
        fill(agent)
        with agent.channel._lock:
            signal.raise_signal(signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)

    told = agent.read()
    while told["kind"] == "heartbeat":
        told = agent.read()
    assert told["reason"] == "handled"


def test_threads_speak_at_the_same_time(agent: Agent) -> None:
    threads, count = 4, 200

    def work() -> None:
        for number in range(count):
            with worker.section("work"):
                worker.heartbeat(step=number)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for each in workers:
        each.start()
    open_sections: set[int] = set()
    told: dict[str, Any] = {}

    def end() -> None:
        for each in workers:
            each.join()
        worker.progress(1)

    done = threading.Thread(target=end)
    done.start()
    while told.get("kind") != "progress":
        told = agent.read()
        if told["kind"] == "section":
            open_sections.add(told["token"])
        elif told["kind"] == "section_end":
            open_sections.remove(told["token"])
    done.join()

    assert open_sections == set()


class Number:
    """A number as libraries for arrays have it."""

    def __index__(self) -> int:
        return 12

    def item(self) -> float:
        return 2.5


class Broken:
    def __str__(self) -> str:
        raise RuntimeError


def test_numbers_of_libraries_are_numbers(agent: Agent) -> None:
    worker.heartbeat(step=Number(), loss=Number())

    assert agent.read() == {"kind": "heartbeat", "step": 12, "values": {"loss": 2.5}}


def test_values_that_json_does_not_know_are_told_all_the_same(agent: Agent) -> None:
    worker.heartbeat(a=float("nan"), b=[1], c=Broken(), d="\udc80", e=None)

    assert agent.read()["values"] == {
        "a": "nan",
        "b": "[1]",
        "c": "Broken",
        "d": "\udc80",
        "e": None,
    }


def test_values_that_are_too_much_leave_the_heartbeat(agent: Agent) -> None:
    worker.heartbeat(step=1, much="x" * 20_000)

    assert agent.read() == {"kind": "heartbeat", "step": 1}


def test_long_texts_are_cut(agent: Agent) -> None:
    worker.no_restart("\0" * 5000)
    with worker.section("n" * 500):
        pass
    reason, section, _ = agent.read_all()

    assert reason["reason"] == "\0" * telling.REASON_LIMIT
    assert section["name"] == "n" * telling.NAME_LIMIT


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: worker.section("x", limit=0), "a limit of 0; give seconds above 0"),
        (lambda: worker.expires(-1), "a limit of -1; give seconds above 0"),
        (lambda: worker.expires(float("inf")), "a limit of inf"),
        (lambda: worker.hold_scaling(0), "no hold can have a limit of 0; give"),
        (lambda: worker.hold_scaling(float("inf")), "a limit of inf"),
        (lambda: worker.progress(float("nan")), "no progress can be nan; give"),
        (
            lambda: worker.progress(1e30),
            "no progress can be 1e.30; give",
        ),
    ],
)
def test_what_can_not_be_meant_is_told_at_once(
    wrong: Callable[[], object], message: str
) -> None:
    """Also where nobody listens, so that it does not wait for the first real job."""
    with pytest.raises(ValueError, match=message):
        wrong()


def notice(**changes: Any) -> bytes:
    told = Notice(kind=NoticeKind.PREEMPTION, reason="TERM", host="h", timestamp=1.5)
    return json.dumps(attrs.asdict(attrs.evolve(told, **changes))).encode()


@attrs.define(eq=False)
class Callback:
    """Notes what it is told."""

    told: list[worker.Notice] = attrs.field(factory=list)
    _came: threading.Semaphore = attrs.field(factory=lambda: threading.Semaphore(0))

    def __call__(self, notice: worker.Notice) -> None:
        self.told.append(notice)
        self._came.release()
        if notice.reason == "raise":
            raise RuntimeError("it does")

    def wait(self) -> worker.Notice:
        assert self._came.acquire(timeout=SOON)
        return self.told[-1]


@pytest.fixture
def notice_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "notice.json"
    monkeypatch.setenv(NOTICE_FILE, str(path))
    return path


def test_callbacks_hear_of_each_notice(agent: Agent, notice_file: Path) -> None:
    first, second = Callback(), Callback()
    worker.on_notice(first)
    worker.on_notice(second)
    for listener in agent.listeners(2):
        agent.notify(listener, notice())
    assert first.wait() == second.wait()
    assert first.told[0].kind == "preemption"
    for listener in agent.listeners(2):
        agent.notify(listener, notice())  # the same
        agent.notify(listener, notice(timestamp=2.5, grace=30.0))

    assert (first.wait().grace, second.wait().grace) == (30.0, 30.0)
    assert len(first.told) == 2
    # By this the launcher knows that the worker looks for notices.
    assert Path(f"{notice_file}.asked").exists()


def test_a_notice_that_is_there_already_is_told(
    agent: Agent, notice_file: Path
) -> None:
    notice_file.write_bytes(notice())
    callback = Callback()
    worker.on_notice(callback)

    assert callback.wait().reason == "TERM"
    (listener,) = agent.listeners(1)
    agent.notify(listener, notice())
    agent.notify(listener, notice(timestamp=2.5))
    assert callback.wait().timestamp == 2.5
    assert len(callback.told) == 2


def test_rubbish_and_a_callback_that_raises_keep_none_from_the_next_notice(
    agent: Agent, notice_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    notice_file.write_text("rubbish")
    callback = Callback()
    worker.on_notice(callback)
    (listener,) = agent.listeners(1)
    for data in (b"rubbish", b"[]", b"{}", b"", notice(reason="raise")):
        agent.notify(listener, data)
    callback.wait()
    agent.notify(listener, notice(timestamp=2.5))

    assert callback.wait().timestamp == 2.5
    assert "RuntimeError: it does" in capfd.readouterr().err
