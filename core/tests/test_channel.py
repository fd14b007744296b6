"""The agent's side of the channel: real sockets, on a real loop."""

import asyncio
import contextlib
import json
import os
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from elaunch.api import Feed, Notice, NoticeKind, WorkerMessage, render
from elaunch.channel import CHANNEL, places, sockets
from elaunch.channel.sockets import Channel


SOON = 20.0

STOP = Notice(kind=NoticeKind.STOP, reason="SIGINT", host="h", timestamp=1.5)


@attrs.define(eq=False)
class Ears:
    """A channel, and what was heard on it."""

    channel: Channel
    heard: list[WorkerMessage] = attrs.field(factory=list)
    _came: asyncio.Event = attrs.field(factory=asyncio.Event)
    _template: str = ""
    _writers: dict[int, socket.socket] = attrs.field(factory=dict)

    def open(self, workers: int) -> None:
        self.close_writers()
        self._template = self.channel.open(workers)[CHANNEL]

    def path(self, rank: int) -> Path:
        return Path(render(self._template, {"local_rank": str(rank)}))

    def hear(self, message: WorkerMessage) -> None:
        self.heard.append(message)
        self._came.set()

    async def until(self, enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON):
            while not enough():
                self._came.clear()
                await self._came.wait()

    def writer(self, rank: int) -> socket.socket:
        if rank not in self._writers:
            self._writers[rank] = new = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            new.settimeout(0)
            new.connect(str(self.path(rank)))
        return self._writers[rank]

    def send(self, rank: int, data: bytes) -> None:
        """Send a datagram, as a worker that is not to wait."""
        self.writer(rank).send(data)

    def beat(self, rank: int, step: int = 0) -> None:
        self.send(rank, json.dumps({"kind": "heartbeat", "step": step}).encode())

    def close_writers(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


@pytest.fixture
def ears() -> Iterator[Ears]:
    feed: Feed[WorkerMessage] = Feed()
    found = Ears(Channel(feed))
    feed.subscribe(found.hear)
    yield found
    found.close_writers()


@contextlib.contextmanager
def closing(ears: Ears) -> Iterator[None]:
    """Close the channel on the loop that it reads on."""
    try:
        yield
    finally:
        ears.channel.close()


@pytest.mark.asyncio
async def test_what_each_worker_says_is_told_with_its_rank(ears: Ears) -> None:
    with closing(ears):
        ears.open(3)
        ears.channel.read()
        for rank in range(3):
            ears.beat(rank, step=10 + rank)
        await ears.until(lambda: len(ears.heard) == 3)

    assert {(m.local_rank, m.step) for m in ears.heard} == {(0, 10), (1, 11), (2, 12)}


@pytest.mark.asyncio
async def test_what_was_said_before_anybody_read_has_waited(ears: Ears) -> None:
    with closing(ears):
        ears.open(1)
        ears.beat(0, step=1)
        assert ears.heard == []
        ears.channel.read()
        await ears.until(lambda: len(ears.heard) == 1)


@pytest.mark.asyncio
async def test_all_that_is_said_comes_in_its_order(ears: Ears) -> None:
    """More than a round takes, from a sender that waits for room."""
    count = 50

    async def say(rank: int) -> None:
        for step in range(count):
            data = json.dumps({"kind": "heartbeat", "step": step}).encode()
            await asyncio.get_running_loop().sock_sendall(ears.writer(rank), data)

    with closing(ears):
        ears.open(2)
        ears.channel.read()
        async with asyncio.timeout(SOON), asyncio.TaskGroup() as senders:
            for rank in range(2):
                senders.create_task(say(rank))
        await ears.until(lambda: len(ears.heard) == 2 * count)

    for rank in range(2):
        assert [m.step for m in ears.heard if m.local_rank == rank] == [*range(count)]


@pytest.mark.asyncio
async def test_the_time_is_when_it_was_read(ears: Ears) -> None:
    with closing(ears):
        ears.open(1)
        ears.beat(0)
        begin = asyncio.get_running_loop().time()
        ears.channel.read()
        await ears.until(lambda: len(ears.heard) == 1)

        assert begin <= ears.heard[0].time <= asyncio.get_running_loop().time()


@pytest.mark.asyncio
async def test_an_agent_that_was_stopped_while_it_read_is_not_deaf_after(
    ears: Ears,
) -> None:
    stopped = SOON / sockets.SHARE + 0.5
    end = ears.channel.messages.subscribe(lambda _: time.sleep(stopped))
    with closing(ears):
        ears.open(1)
        ears.channel.read()
        ears.beat(0, step=1)
        await ears.until(lambda: len(ears.heard) == 1)
        end()
        ears.beat(0, step=2)
        await ears.until(lambda: len(ears.heard) == 2)


@pytest.mark.asyncio
async def test_nobody_else_can_speak(ears: Ears) -> None:
    with closing(ears):
        ears.open(1)
        folder = ears.path(0).parent

        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.stat().st_uid == os.getuid()


@pytest.mark.asyncio
async def test_a_worker_of_the_group_before_is_not_heard(ears: Ears) -> None:
    with closing(ears):
        ears.open(1)
        ears.channel.read()
        ears.beat(0, step=1)
        await ears.until(lambda: len(ears.heard) == 1)
        old, writer = ears.path(0), ears._writers.pop(0)
        ears.open(1)
        ears.channel.read()
        with writer, pytest.raises(ConnectionRefusedError):
            writer.send(b'{"kind": "heartbeat"}')
        ears.beat(0, step=2)
        await ears.until(lambda: len(ears.heard) == 2)

        assert ears.path(0) != old
        assert not old.parent.exists()
    assert [m.step for m in ears.heard] == [1, 2]


@pytest.mark.asyncio
async def test_nothing_is_left_of_it(ears: Ears) -> None:
    ears.open(2)
    ears.channel.read()
    folder, listener = ears.path(0).parent, socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind(f"{ears.path(0)}.mine")
        ears.channel.close()

        assert not folder.exists()
    ears.channel.close()


@pytest.mark.asyncio
async def test_what_a_worker_said_last_is_told_when_it_has_ended(ears: Ears) -> None:
    with closing(ears):
        ears.open(2)
        ears.channel.read()
        ears.beat(0, step=1)
        ears.beat(1, step=2)
        ears.channel.drain(1)

        assert [m.step for m in ears.heard] == [2]
        ears.channel.drain(1)
        ears.channel.drain(7)
        assert len(ears.heard) == 1
        await ears.until(lambda: len(ears.heard) == 2)


@pytest.mark.asyncio
async def test_one_that_floods_does_not_keep_the_others_from_being_heard(
    ears: Ears,
) -> None:
    """Nor the agent from its work: a round ends, and the next one is put off."""

    def again(message: WorkerMessage) -> None:
        if message.local_rank == 0:
            ears.beat(0)

    ears.channel.messages.subscribe(again)
    with closing(ears):
        ears.open(2)
        ears.channel.read()
        ears.beat(0)
        for step in range(5):
            ears.beat(1, step)
            await ears.until(
                lambda step=step: any(  # type: ignore[misc] # a lambda's default
                    m.local_rank == 1 and m.step == step for m in ears.heard
                )
            )


@pytest.mark.asyncio
async def test_what_is_no_message_is_told_once_and_hurts_nobody(
    ears: Ears, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(ears):
        ears.open(2)
        ears.channel.read()
        for data in (b"rubbish", b"", b"\0" * 100_000, b'{"kind": "progress"}'):
            ears.send(1, data)
        ears.beat(1, step=1)
        ears.beat(0, step=2)
        await ears.until(lambda: len(ears.heard) == 2)

    (record,) = caplog.records
    assert record.getMessage() == (
        "the worker of local rank 1 said what is no message: no JSON: b'rubbish' "
        "(Expecting value: line 1 column 1 (char 0))"
    )


@pytest.mark.asyncio
async def test_whoever_is_told_may_close_it(ears: Ears) -> None:
    ears.channel.messages.subscribe(lambda _: ears.channel.close())
    ears.open(2)
    ears.channel.read()
    for _ in range(3):
        ears.beat(0)
        ears.beat(1)
    await ears.until(lambda: len(ears.heard) == 1)
    await asyncio.sleep(2 * sockets.GATHER_LONGER)

    assert len(ears.heard) == 1


@pytest.mark.asyncio
async def test_listeners_hear_of_a_notice_and_one_that_is_gone_hurts_nobody(
    ears: Ears,
) -> None:
    with closing(ears):
        ears.channel.tell(STOP)  # nobody is there yet
        ears.open(2)
        paths = [f"{ears.path(rank)}.{n}" for rank in range(2) for n in range(2)]
        listeners = [
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            for _ in paths
        ]
        with contextlib.ExitStack() as stack:
            for path, listener in zip(paths, listeners, strict=True):
                stack.enter_context(listener)
                listener.bind(path)
            listeners.pop(1).close()
            ears.channel.tell(STOP)
            for listener in listeners:
                assert json.loads(listener.recv(4096)) == attrs.asdict(STOP)


@pytest.mark.asyncio
@pytest.mark.parametrize("length", [10, 120])
async def test_the_length_of_the_temporary_path_does_not_matter(
    ears: Ears, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    place = tmp_path / ("x" * length)
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with closing(ears):
        ears.open(100)
        ears.channel.read()
        ears.beat(99)
        await ears.until(lambda: len(ears.heard) == 1)

        assert len(str(ears.path(99))) <= places.MAX_PATH


@pytest.mark.asyncio
async def test_without_a_place_for_it_there_is_none_and_the_job_goes_on(
    ears: Ears, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(places, "OTHERS", ())
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with closing(ears):
        assert ears.channel.open(1) == {}
        ears.channel.read()
        ears.channel.drain(0)
        ears.channel.tell(STOP)

    (told,) = caplog.messages
    assert told == (
        "workers have no channel to their agent: no directory for temporary files is "
        "there, or its path is too long"
    )


def killed(parent: Path, name: str = "gone") -> Path:
    """Leave what an agent leaves that is killed: a directory that nobody holds."""
    left = parent / f"{places.PREFIX}{name}"
    left.mkdir(mode=0o700)
    (left / "0").touch()
    os.utime(left, (1.0, 1.0))
    return left


def test_what_agents_have_left_that_were_killed_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(places, "MAX_PATH", 200)
    living, left = places.make(1), killed(tmp_path)
    os.utime(living.path, (1.0, 1.0))
    young = killed(tmp_path, "young")
    os.utime(young)
    link = tmp_path / f"{places.PREFIX}link"
    other = tmp_path / "other"
    other.mkdir()
    link.symlink_to(other)
    file = tmp_path / f"{places.PREFIX}file"
    file.touch()
    os.utime(file, (1.0, 1.0))
    places.sweep(str(tmp_path))
    places.sweep(str(tmp_path / "missing"))

    assert not left.exists()
    assert {*tmp_path.iterdir()} == {Path(living.path), young, link, other, file}
    living.remove()
    assert not Path(living.path).exists()


@pytest.mark.asyncio
async def test_an_agent_that_lives_sweeps_once(
    ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: asyncio.Queue[str] = asyncio.Queue()
    put, loop = swept.put_nowait, asyncio.get_running_loop()
    monkeypatch.setattr(
        places, "sweep", lambda parent: loop.call_soon_threadsafe(put, parent)
    )
    monkeypatch.setattr(places, "SETTLED", 0.0)
    with closing(ears):
        for _ in range(3):
            ears.open(1)
            ears.channel.read()
        async with asyncio.timeout(SOON):
            assert await swept.get() == str(ears.path(0).parent.parent)
        ears.channel.open(1)
        ears.channel.read()
        await asyncio.sleep(0)

    assert swept.empty()
