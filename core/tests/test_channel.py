"""The agent's side of the channel: real sockets, on a real loop."""

import asyncio
import contextlib
import json
import os
import resource
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from elaunch.api import Feed, Notice, NoticeKind, WorkerMessage, render
from elaunch.channel import CHANNEL, places, sockets
from elaunch.channel.decoding import MAX_DATAGRAM
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
def ears(caplog: pytest.LogCaptureFixture) -> Iterator[Ears]:
    feed: Feed[WorkerMessage] = Feed()
    found = Ears(Channel(feed))
    feed.subscribe(found.hear)
    yield found
    found.close_writers()
    # What is raised in a callback of the loop goes to its log, and no further.
    assert not [r for r in caplog.get_records("call") if r.name == "asyncio"]


def left_in(folder: Path) -> list[Path]:
    return [*folder.iterdir()]


def descriptors() -> set[Path]:
    return {*left_in(Path("/proc/self/fd"))}


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
async def test_who_was_silent_for_a_while_is_heard_again(ears: Ears) -> None:
    with closing(ears):
        ears.open(1)
        ears.channel.read()
        for step in range(3):
            ears.beat(0, step)
            await ears.until(lambda: len(ears.heard) == step + 1)  # noqa: B023 - now
            await asyncio.sleep(3 * sockets.GATHER_LONGER)


@pytest.mark.asyncio
@pytest.mark.parametrize("beats", [1, 2])
async def test_after_a_round_messages_gather(
    ears: Ears, monkeypatch: pytest.MonkeyPatch, beats: int
) -> None:
    """Also where one worker has said much: it is not read again at once."""
    monkeypatch.setattr(sockets, "GATHER", SOON)
    monkeypatch.setattr(sockets, "GATHER_LONGER", SOON)
    with closing(ears):
        ears.open(1)
        for _ in range(beats):
            ears.beat(0)
        ears.channel.read()
        await ears.until(lambda: len(ears.heard) >= 1)
        read = len(ears.heard)
        ears.beat(0)
        for _ in range(9):
            await asyncio.sleep(0)

        assert len(ears.heard) == read
        ears.channel.drain(0)
        assert len(ears.heard) == beats + 1


@pytest.mark.asyncio
async def test_who_says_much_at_once_is_read_again_sooner(
    ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before what the kernel queues for it is full."""
    monkeypatch.setattr(sockets, "ROUND", SOON)
    monkeypatch.setattr(sockets, "GATHER_LONGER", 10 * SOON)
    with closing(ears):
        ears.open(1)
        ears.beat(0)
        ears.beat(0)
        ears.channel.read()
        await ears.until(lambda: len(ears.heard) == 2)
        ears.beat(0)
        await ears.until(lambda: len(ears.heard) == 3)


@pytest.mark.asyncio
async def test_who_comes_late_in_one_round_comes_early_in_the_next(
    ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "ROUND", -1.0)  # one message, and it is over
    with closing(ears):
        ears.open(3)
        for rank in (0, 1, 2) * 2:
            ears.beat(rank)
        ears.channel.read()
        await ears.until(lambda: len(ears.heard) == 6)

    assert [m.local_rank for m in ears.heard] == [0, 1, 2] * 2


@pytest.mark.asyncio
async def test_the_largest_datagram_is_read_as_a_whole(ears: Ears) -> None:
    with closing(ears):
        ears.open(1)
        ears.channel.read()
        ears.send(0, b'{"kind": "heartbeat"}'.rjust(MAX_DATAGRAM))
        await ears.until(lambda: len(ears.heard) == 1)


@pytest.mark.asyncio
async def test_the_agent_reads_for_a_part_of_its_time(
    ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a round cost, its listeners included, puts off the next one."""
    cost = 0.02

    def work(_: WorkerMessage) -> None:
        end = time.thread_time() + cost
        while time.thread_time() < end:
            continue

    monkeypatch.setattr(sockets, "GATHER", 0.0)
    monkeypatch.setattr(sockets, "GATHER_LONGER", 0.0)
    ears.channel.messages.subscribe(work)
    with closing(ears):
        ears.open(1)
        ears.channel.read()
        ears.beat(0)
        await ears.until(lambda: len(ears.heard) == 1)
        ears.beat(0)
        await ears.until(lambda: len(ears.heard) == 2)

    first, second = ears.heard
    assert second.time - first.time >= sockets.SHARE * cost


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
async def test_a_group_that_said_nothing_is_in_nobodys_way(ears: Ears) -> None:
    """Its descriptors have the numbers of those before."""
    with closing(ears):
        for _ in range(3):
            ears.open(2)
            ears.channel.read()
        ears.beat(1, step=1)
        await ears.until(lambda: len(ears.heard) == 1)


@pytest.mark.asyncio
async def test_nothing_is_left_of_it(ears: Ears) -> None:
    before = descriptors()
    ears.open(2)
    ears.channel.read()
    folder, listener = ears.path(0).parent, socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind(f"{ears.path(0)}.mine")
        ears.channel.close()

        assert not folder.exists()
    ears.channel.close()
    assert descriptors() <= before


@pytest.mark.asyncio
async def test_what_a_worker_said_last_is_told_when_it_has_ended(ears: Ears) -> None:
    with closing(ears):
        ears.open(2)
        ears.channel.read()
        ears.beat(0, step=1)
        for step in (2, 3, 4):
            ears.beat(1, step)
        ears.channel.drain(1)

        assert [m.step for m in ears.heard] == [2, 3, 4]
        ears.channel.drain(1)
        ears.channel.drain(7)
        assert len(ears.heard) == 3
        await ears.until(lambda: len(ears.heard) == 4)


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
async def test_what_is_no_message_is_told_once_a_group_and_hurts_nobody(
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
        ears.open(2)
        ears.channel.read()
        ears.send(1, b"rubbish")
        ears.beat(1, step=3)
        await ears.until(lambda: len(ears.heard) == 3)

    of_the_first, of_the_next = caplog.messages
    assert of_the_first == of_the_next
    assert of_the_first == (
        "the worker of local rank 1 said what is no message: no JSON: b'rubbish' "
        "(Expecting value: line 1 column 1 (char 0))"
    )


@pytest.mark.asyncio
async def test_whoever_is_told_may_close_it(
    ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a round that would go on."""
    monkeypatch.setattr(sockets, "ROUND", SOON)
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
    ears.open(1)
    ears.channel.read()
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


@pytest.mark.asyncio
async def test_nothing_is_left_of_one_that_could_not_be_made_as_a_whole(
    ears: Ears, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(places, "MAX_PATH", 200)
    before, limits = descriptors(), resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 4, limits[1]))
    try:
        assert ears.channel.open(100) == {}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert descriptors() <= before
    assert left_in(tmp_path) == []


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
    other = killed(tmp_path, "another").rename(tmp_path / "other")
    link.symlink_to(other)
    file = tmp_path / f"{places.PREFIX}file"
    file.touch()
    os.utime(file, (1.0, 1.0))
    before = descriptors()
    places.sweep(str(tmp_path))
    places.sweep(str(tmp_path / "missing"))

    assert descriptors() <= before
    assert not left.exists()
    assert {*tmp_path.iterdir()} == {Path(living.path), young, link, other, file}
    living.remove()
    assert not Path(living.path).exists()


def test_what_belongs_to_another_user_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, somebody = killed(tmp_path), os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: somebody)
    places.sweep(str(tmp_path))

    assert left.exists()


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
        # Whatever is due now is done, and heard of, before the loop is here again.
        for _ in range(3):
            await asyncio.sleep(0)
            for thread in threading.enumerate():
                if thread.name == "elaunch-channel-sweep":
                    thread.join(SOON)

    assert swept.empty()


@pytest.mark.asyncio
async def test_an_agent_whose_workers_have_ended_sweeps_nothing(
    ears: Ears, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "SETTLED", 0.0)
    ears.open(1)
    ears.channel.read()
    ears.channel.close()
    for _ in range(3):
        await asyncio.sleep(0)

    assert not ears.channel._swept
