import asyncio
import socket
from collections.abc import AsyncIterator

import attrs
import pytest
import pytest_asyncio

from elaunch.api import ABSENT, Entry, Keyspace, StoreEvent
from elaunch_rdzv_c10d.door import Caller, Door
from elaunch_rdzv_c10d.limits import Limits
from elaunch_rdzv_c10d.messages import (
    MAX_FRAME,
    MAX_IN_FLIGHT,
    BrokenFrameError,
    Changed,
    Compacted,
    CompareAndSet,
    Done,
    Found,
    Get,
    Goodbye,
    Grant,
    Granted,
    Hello,
    List,
    Listed,
    Operation,
    Put,
    Refused,
    Renew,
    Request,
    Result,
    Revoke,
    ServerMessage,
    Unwatch,
    Watch,
    Watching,
    Written,
)
from elaunch_rdzv_c10d.sessions import (
    MAX_GRACE,
    Session,
    Sessions,
    SessionsFullError,
)


pytestmark = pytest.mark.asyncio


@attrs.define(eq=False)
class FakePeer:
    sent: list[ServerMessage] = attrs.field(factory=list)
    dropped: bool = False

    def send(self, message: ServerMessage, /) -> None:
        self.sent.append(message)

    def drop(self) -> None:
        self.dropped = True


@attrs.define(eq=False)
class Client:
    """A client without a wire."""

    sessions: Sessions
    session: Session
    peer: FakePeer
    last_id: int = 0

    def ask(self, operation: Operation) -> Result:
        self.last_id += 1
        return self.repeat(self.last_id, operation)

    def repeat(self, number: int, operation: Operation) -> Result:
        return self.sessions.request(self.session, Request(number, operation)).result

    def come_back(self) -> bool:
        self.peer = FakePeer()
        hello = Hello("job", 1.0, self.session.id)
        self.session, resumed = self.sessions.attach(hello, self.peer)
        return resumed

    def lease(self, ttl: float = 60.0) -> int:
        granted = self.ask(Grant(ttl))
        assert isinstance(granted, Granted)
        return granted.lease


def new_client(sessions: Sessions, grace: float = 60.0) -> Client:
    peer = FakePeer()
    session, resumed = sessions.attach(Hello("job", grace), peer)
    assert not resumed
    return Client(sessions, session, peer)


async def vanished(keyspace: Keyspace, key: str) -> None:
    """Wait until a key is deleted."""
    gone = asyncio.Event()

    def deliver(event: StoreEvent) -> None:
        if event.value is None:
            gone.set()

    keyspace.subscribe(key, keyspace.revision, deliver)
    async with asyncio.timeout(10):
        await gone.wait()


def call(sessions: Sessions) -> Caller:
    """Let a stranger come."""
    plug = socket.socket()
    plug.close()
    return sessions.door.receive(asyncio.Transport({"socket": plug}))


async def keep_calling(sessions: Sessions) -> None:
    """Let strangers come in every turn of the loop, and leave when it is cancelled."""
    callers = []
    try:
        while True:
            callers.append(call(sessions))
            await asyncio.sleep(0)
    finally:
        for caller in callers:
            caller.leave()


async def run_what_is_due() -> None:
    """Let the loop turn until it has looked at its timers and run those in the past."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest_asyncio.fixture
async def sessions() -> AsyncIterator[Sessions]:
    sessions = Sessions("host")
    sessions.door = Door(Limits(strangers=1_000_000))
    yield sessions
    sessions.shut_down()


class TestIdentity:
    async def test_every_session_has_a_secret_of_its_own(
        self, sessions: Sessions
    ) -> None:
        ids = {new_client(sessions).session.id for _ in range(10)}

        assert len(ids) == 10
        assert min(len(text) for text in ids) == 32

    async def test_a_wrong_secret_gives_a_new_session(self, sessions: Sessions) -> None:
        session, resumed = sessions.attach(Hello("job", 1.0, "guess"), FakePeer())

        assert not resumed
        assert session.id != "guess"

    async def test_grace_has_a_limit(self, sessions: Sessions) -> None:
        assert new_client(sessions, grace=1e9).session.grace == MAX_GRACE

    async def test_a_client_may_be_back_before_its_loss_is_noticed(
        self, sessions: Sessions
    ) -> None:
        client = new_client(sessions)
        stale = client.peer

        assert client.come_back()
        sessions.detach(client.session, stale)
        assert stale.dropped
        assert client.session.peer is client.peer


class TestRequests:
    async def test_a_repetition_is_not_applied_again(self, sessions: Sessions) -> None:
        client = new_client(sessions)
        put = Put("key", b"value")
        create = CompareAndSet("other", b"", ABSENT)

        first = [client.repeat(1, put), client.repeat(2, create)]
        client.come_back()
        again = [client.repeat(1, put), client.repeat(2, create)]

        assert first == again == [Written(1), Written(2)]
        assert sessions.keyspace.revision == 2

    async def test_a_repeated_grant_is_the_same_lease(self, sessions: Sessions) -> None:
        client = new_client(sessions)

        assert client.repeat(1, Grant(60.0)) == client.repeat(1, Grant(60.0))

    async def test_reads_are_answered_anew(self, sessions: Sessions) -> None:
        client = new_client(sessions)
        before = client.repeat(1, Get("key"))
        client.repeat(2, Put("key", b""))

        assert before == Found(None)
        assert client.repeat(1, Get("key")) == Found(Entry("key", b"", 1))

    async def test_as_many_answers_are_kept_as_a_client_may_miss(
        self, sessions: Sessions
    ) -> None:
        client = new_client(sessions)
        for _ in range(MAX_IN_FLIGHT + 1):
            client.ask(Put("key", b""))

        assert client.repeat(2, Put("key", b"")) == Written(2)
        assert len(client.session.answers) == MAX_IN_FLIGHT

    async def test_sessions_number_their_requests_apart(
        self, sessions: Sessions
    ) -> None:
        one, other = new_client(sessions), new_client(sessions)

        assert one.repeat(1, Put("a", b"")) == Written(1)
        assert other.repeat(1, Put("b", b"")) == Written(2)


class TestLeases:
    async def test_belong_to_their_session(self, sessions: Sessions) -> None:
        owner, thief = new_client(sessions), new_client(sessions)
        lease = owner.lease()

        assert isinstance(thief.ask(Put("key", b"", lease)), Refused)
        assert isinstance(thief.ask(CompareAndSet("key", b"", 0, lease)), Refused)
        assert isinstance(thief.ask(Renew(lease)), Refused)
        assert thief.ask(Revoke(lease)) == Done()
        assert owner.ask(Renew(lease)) == Done()

    async def test_expire_when_they_are_not_renewed(self, sessions: Sessions) -> None:
        client = new_client(sessions)
        long = client.lease(60.0)
        short = client.lease(0.05)
        client.ask(Put("key", b"", short))

        await vanished(sessions.keyspace, "key")

        assert isinstance(client.ask(Renew(short)), Refused)
        assert isinstance(client.ask(Put("key", b"", short)), Refused)
        assert client.ask(Renew(long)) == Done()

    async def test_survive_a_connection_for_the_grace(self, sessions: Sessions) -> None:
        client = new_client(sessions)
        lease = client.lease()
        client.ask(Put("key", b"", lease))
        sessions.detach(client.session, client.peer)

        assert sessions.keyspace.get("key") is not None
        assert client.come_back()
        assert client.ask(Renew(lease)) == Done()

    async def test_end_with_the_grace(self, sessions: Sessions) -> None:
        client = new_client(sessions, grace=0.01)
        lease = client.lease()
        client.ask(Put("key", b"", lease))
        sessions.detach(client.session, client.peer)

        await vanished(sessions.keyspace, "key")

        assert not client.come_back()
        assert isinstance(client.ask(Renew(lease)), Refused)

    async def test_outlive_the_grace_while_someone_is_at_the_door(
        self, sessions: Sessions
    ) -> None:
        client = new_client(sessions, grace=0.0)
        client.ask(Put("key", b"", client.lease()))
        known, stranger = call(sessions), call(sessions)
        known.leave()
        sessions.detach(client.session, client.peer)
        first = client.session.timer
        await run_what_is_due()

        assert client.session.timer is not first
        assert sessions.keyspace.get("key") is not None
        stranger.leave()
        await vanished(sessions.keyspace, "key")

    async def test_wait_for_nobody_who_has_come_after_the_grace(
        self, sessions: Sessions
    ) -> None:
        """Else whoever keeps on calling could keep the dead alive for ever."""
        client = new_client(sessions, grace=0.0)
        client.ask(Put("key", b"", client.lease()))
        stranger = call(sessions)
        sessions.detach(client.session, client.peer)
        await run_what_is_due()
        waited = sessions.keyspace.get("key") is not None
        calling = asyncio.create_task(keep_calling(sessions))
        await vanished(sessions.keyspace, "key")
        calling.cancel()
        await asyncio.wait([calling])
        stranger.leave()

        assert waited
        assert sessions.door.arrivals > 1

    async def test_wait_anew_each_time_that_the_connection_breaks(
        self, sessions: Sessions
    ) -> None:
        client = new_client(sessions, grace=0.0)
        client.ask(Put("key", b"", client.lease()))
        before = call(sessions)
        sessions.detach(client.session, client.peer)
        await run_what_is_due()
        client.come_back()
        before.leave()
        later = call(sessions)
        sessions.detach(client.session, client.peer)
        await run_what_is_due()
        waited = sessions.keyspace.get("key") is not None
        later.leave()
        await vanished(sessions.keyspace, "key")

        assert waited

    async def test_wait_for_nobody_who_was_silent_for_as_long_as_the_grace(
        self, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop = asyncio.get_running_loop()
        time = loop.time
        silent = call(sessions)
        client = new_client(sessions, grace=30.0)
        client.ask(Put("key", b"", client.lease()))
        monkeypatch.setattr(loop, "time", lambda: time() + 31.0)
        sessions.detach(client.session, client.peer)
        monkeypatch.setattr(loop, "time", lambda: time() + 61.05)
        await run_what_is_due()
        given_up = sessions.keyspace.get("key") is None
        silent.leave()

        assert given_up

    async def test_wait_for_whoever_may_be_in_the_queue(
        self, sessions: Sessions
    ) -> None:
        queue = [True]
        sessions.door.has_queue = lambda: bool(queue)
        client = new_client(sessions, grace=0.0)
        client.ask(Put("key", b"", client.lease()))
        sessions.detach(client.session, client.peer)
        await run_what_is_due()
        waited = sessions.keyspace.get("key") is not None
        queue.clear()
        await vanished(sessions.keyspace, "key")

        assert waited

    async def test_outlive_a_grace_in_which_nobody_was_served(
        self, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop = asyncio.get_running_loop()
        client = new_client(sessions, grace=30.0)
        lease = client.lease()
        sessions.detach(client.session, client.peer)
        first = client.session.timer
        time = loop.time
        monkeypatch.setattr(loop, "time", lambda: time() + 40.0)
        await run_what_is_due()
        second = client.session.timer

        assert first is not None
        assert second is not None
        assert second.when() - first.when() >= 40.0
        assert client.come_back()
        assert client.ask(Renew(lease)) == Done()

    async def test_end_with_a_goodbye(self, sessions: Sessions) -> None:
        client = new_client(sessions)
        client.ask(Put("key", b"", client.lease()))

        assert client.ask(Goodbye()) == Done()
        assert sessions.keyspace.get("key") is None
        assert not client.come_back()


class TestWatches:
    async def test_send_the_past_before_they_are_confirmed(
        self, sessions: Sessions
    ) -> None:
        client = new_client(sessions)
        client.ask(Put("a/1", b"1"))
        client.ask(Put("b/1", b"1"))

        answer = sessions.watch(client.session, Watch(7, "a/", 0))
        client.ask(Put("a/2", b"2"))

        assert answer == Watching(7, 2)
        assert client.peer.sent == [
            Changed(7, StoreEvent("a/1", b"1", 1)),
            Changed(7, StoreEvent("a/2", b"2", 3)),
        ]

    async def test_rest_while_there_is_no_connection(self, sessions: Sessions) -> None:
        client, other = new_client(sessions), new_client(sessions)
        sessions.watch(client.session, Watch(7, "", 0))
        lost = client.peer
        sessions.detach(client.session, lost)
        other.ask(Put("missed", b""))
        client.come_back()
        sessions.watch(client.session, Watch(7, "", 0))
        other.ask(Put("seen", b""))

        assert lost.sent == []
        assert [m.event.key for m in client.peer.sent if isinstance(m, Changed)] == [
            "missed",
            "seen",
        ]

    async def test_end_when_asked_to(self, sessions: Sessions) -> None:
        client = new_client(sessions)
        sessions.watch(client.session, Watch(7, "", 0))

        sessions.unwatch(client.session, Unwatch(7))
        sessions.unwatch(client.session, Unwatch(7))
        client.ask(Put("key", b""))

        assert client.peer.sent == []

    async def test_that_want_a_forgotten_past_are_refused(self) -> None:
        sessions = Sessions("host", Keyspace(history=1))
        client = new_client(sessions)
        client.ask(Put("key", b"0"))
        client.ask(Put("key", b"1"))

        assert sessions.watch(client.session, Watch(7, "", 0)) == Compacted(7)
        assert client.peer.sent == []


class TestDraining:
    async def test_waits_for_the_last_to_leave(self, sessions: Sessions) -> None:
        one, other = new_client(sessions), new_client(sessions)
        drained = asyncio.create_task(sessions.drained(10))
        one.ask(Goodbye())
        await asyncio.sleep(0)
        early = drained.done()
        other.ask(Goodbye())

        assert not early
        assert await drained

    async def test_may_leave_one_out(self, sessions: Sessions) -> None:
        client = new_client(sessions)

        assert await sessions.drained(10, besides=client.session.id)

    async def test_has_a_limit(self, sessions: Sessions) -> None:
        new_client(sessions)

        assert not await sessions.drained(0.01)


async def test_there_is_an_end_to_sessions(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elaunch_rdzv_c10d.sessions.MAX_SESSIONS", 1)
    session, _ = sessions.attach(Hello("job", 1.0), FakePeer())

    with pytest.raises(SessionsFullError):
        sessions.attach(Hello("job", 1.0), FakePeer())
    assert sessions.attach(Hello("job", 1.0, session.id), FakePeer()) == (session, True)
    sessions.end(session)
    sessions.attach(Hello("job", 1.0), FakePeer())


async def test_there_is_an_end_to_watches(sessions: Sessions) -> None:
    sessions.keyspace.max_watches = 1
    session, _ = sessions.attach(Hello("job", 1.0), FakePeer())
    sessions.watch(session, Watch(1, "/a", 0))
    sessions.watch(session, Watch(1, "/b", 0))

    with pytest.raises(BrokenFrameError, match="no room for another watch"):
        sessions.watch(session, Watch(2, "/b", 0))


async def test_a_store_that_is_full_says_so(sessions: Sessions) -> None:
    sessions.keyspace.limit = 10
    session, _ = sessions.attach(Hello("job", 1.0), FakePeer())
    answer = sessions.request(session, Request(1, Put("/a", bytes(10))))

    assert answer.result == Refused("the store is full")


async def test_a_list_that_no_frame_holds_is_not_made(sessions: Sessions) -> None:
    """To encode it would keep the loop from serving anybody for seconds."""
    session, _ = sessions.attach(Hello("job", 1.0), FakePeer())
    for key in ("/a/1", "/a/2", "/b"):
        sessions.keyspace.put(key, bytes(MAX_FRAME // 2))

    answer = sessions.request(session, Request(1, List("/a")))
    assert answer.result == Refused("the answer is longer than a frame; ask for less")
    answer = sessions.request(session, Request(2, List("/b")))
    assert isinstance(answer.result, Listed)
