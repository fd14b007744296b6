"""The laws of a rendezvous, with the v3 store in the simulation.

What is real is everything above a connection: the store with its writer, leases,
watches and shared lease, the link with its retries, the ring. Requests that block run
in threads outside; here they travel over the simulated network, which delays them, lets
them arrive late, loses their answers, or loses them.

More seeds: `PYTHONPATH=plugins/rdzv_etcd/tests python -m elaunch.testing.simulation
--backend test_v3_simulation:SimulatedEtcd --seeds 3000`.
"""

import asyncio
import base64
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import pytest

from elaunch.api import (
    Keyspace,
    RendezvousOptions,
    StoreEvent,
    WatchCompacted,
    discard,
)
from elaunch.testing.simulation import (
    FAMILIES,
    Backend,
    End,
    Network,
    Process,
    Scenario,
    SimulatedLoop,
    endure_outage,
    generate,
    keep_diary,
    lose_packets,
    run,
    stand_still,
    tell,
)
from elaunch_rdzv_etcd.connect import Api, open_store
from elaunch_rdzv_etcd.endpoints import Endpoint
from elaunch_rdzv_etcd.options import EtcdOptions
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.trouble import Unavailable
from elaunch_rdzv_etcd.v3.changes import Record, text
from elaunch_rdzv_etcd.v3.keys import Keys
from elaunch_rdzv_etcd.v3.refusals import LeaseExists, LeaseGone
from elaunch_rdzv_etcd.v3.remains import Job
from elaunch_rdzv_etcd.v3.store import EtcdV3Store


KEYS = Keys("/elaunch")
ADDRESS = "store"
_LATE = 0.001  # seconds that a lease is over when it is ended: no rounding hides that


@attrs.define(eq=False)
class SimulatedEtcd:
    """The server: what a member of a cluster does, over a keyspace.

    Its keyspace holds keys and values as agents mean them, for the laws to read; what
    the store adds to a value, the id of the write, is kept aside.
    """

    loop: SimulatedLoop
    network: Network
    scenario: Scenario
    options: type[RendezvousOptions] = attrs.field(default=EtcdOptions, init=False)
    requests: int = attrs.field(default=0, init=False)
    process: Process = attrs.field(init=False)
    number: int = attrs.field(init=False)
    keyspace: Keyspace = attrs.field(init=False)
    on_give_up: Callable[[Process], None] = attrs.field(
        default=lambda _: None, init=False
    )
    watches: dict[End, Any] = attrs.field(factory=dict, init=False)
    _writes: dict[str, bytes] = attrs.field(factory=dict, init=False)
    _marks: dict[str, tuple[bytes, int]] = attrs.field(factory=dict, init=False)
    _leases: dict[int, int] = attrs.field(factory=dict, init=False)
    _expiry: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    _numbers: Iterator[int] = attrs.field(
        factory=lambda: itertools.count(1), init=False
    )

    def __attrs_post_init__(self) -> None:
        random.seed(self.scenario.seed)  # what a client waits between two tries
        # The code under test hands what blocks to a thread: here to the network.
        self.loop.run_in_executor = self._run_in_executor  # type: ignore[assignment,method-assign]  # see above
        self.start()

    # -- the server ------------------------------------------------------------

    def start(self, *, forget: bool = True) -> None:
        """Serve; without ``forget`` what is on disk, each lease with all its time."""
        self.process = self.loop.process("store", self.network.random.uniform(0, 1e6))
        if forget:
            self.number = next(self._numbers)
            self.keyspace = Keyspace(self.scenario.history)
            self._writes, self._marks, self._leases = {}, {}, {}
        for lease in self._leases.values():
            self.keyspace.renew(lease, self.loop.now)
        self.network.listen(ADDRESS, self.process, self._accept)
        self._expiry = None
        self._expire()

    def stop(self) -> None:
        """Die, as a killed process does."""
        for subscription in self.watches.values():
            self.keyspace.unsubscribe(subscription)
        self.watches.clear()
        self.loop.kill(self.process)
        self.network.bury(self.process)

    def compact(self, client: Process) -> None:
        """Tell a client that what its watches wait for is forgotten."""
        for end in [end for end in self.watches if end.peer.process is client]:
            self._unwatch(end)
            end.send(self._compacted())

    def _accept(self, end: End) -> None:
        end.on_message = lambda message: message(end)
        end.on_lost = lambda _: self._unwatch(end)

    def _expire(self) -> None:
        self.keyspace.expire(self.loop.now)
        if self._expiry:
            self._expiry.cancel()
        deadline = self.keyspace.next_deadline()
        if deadline is not None:
            delay = max(0.0, deadline - self.loop.now) + _LATE
            self._expiry = self.loop.call_later(
                delay, self._expire, context=self.process.context
            )

    # -- what it is asked ------------------------------------------------------

    def probe(self, place: bytes) -> None:
        """Whoever gets here may write."""

    def read(self, place: bytes) -> Record | None:
        key = KEYS.key(place)
        entry = self.keyspace.get(key) if key else None
        if key is None or entry is None:
            return None
        return Record(place, self._writes[key] + b" " + entry.value, entry.revision)

    def revision(self, _: bytes) -> int:
        return self.keyspace.revision

    def entries(self, start: bytes, _: bytes) -> tuple[tuple[Record, ...], int]:
        found = self.keyspace.list(KEYS.key(start) or "")
        records = (self.read(KEYS.of_key(entry.key)) for entry in found.entries)
        return tuple(filter(None, records)), found.revision

    def commit(self, operations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        for operation in operations:
            for change in operation["request_txn"]["success"]:
                lease = int(change.get("request_put", {}).get("lease", 0))
                if lease and not self._is_alive(lease):
                    raise LeaseGone("requested lease not found")
        return [{"response_txn": self._apply(o["request_txn"])} for o in operations]

    def grant(self, seconds: int, lease: int = 0) -> tuple[int, int]:
        if self._is_alive(lease):
            raise LeaseExists("lease already exists")
        lease = lease or next(self._numbers)
        number = self.keyspace.grant(seconds, self.loop.now)
        self._leases[lease] = number
        self._expire()
        return lease, seconds

    def keep_alive(self, lease: int) -> bool:
        number = self._leases.get(lease)
        return number is not None and self.keyspace.renew(number, self.loop.now)

    def revoke(self, lease: int) -> None:
        if not self._is_alive(lease):
            raise LeaseGone("requested lease not found")
        self.keyspace.revoke(self._leases.pop(lease))

    def watch(self, end: End, prefix: str, since: int) -> None:
        header = {"revision": str(self.keyspace.revision)}
        end.send({"header": header, "created": True})

        def deliver(event: StoreEvent) -> None:
            end.send({"header": header, "events": [_told(event)]})

        try:
            self.watches[end] = self.keyspace.subscribe(prefix, since, deliver)
        except WatchCompacted:
            end.send(self._compacted())

    def _unwatch(self, end: End) -> None:
        subscription = self.watches.pop(end, None)
        if subscription:
            self.keyspace.unsubscribe(subscription)

    def _compacted(self) -> dict[str, Any]:
        revision = str(self.keyspace.revision)
        return {
            "header": {"revision": revision},
            "canceled": True,
            "compact_revision": revision,
        }

    def _is_alive(self, lease: int) -> bool:
        number = self._leases.get(lease)
        return number is not None and number in self.keyspace._leases

    def _apply(self, transaction: Mapping[str, Any]) -> dict[str, Any]:
        compare, *marks = transaction["compare"]
        place = base64.b64decode(compare["key"])
        key, record = KEYS.key(place) or "", self.read(place)
        kept = [self._marks.get(mark["key"]) for mark in marks]
        if any(kept) or int(compare["mod_revision"]) != (
            record.revision if record else 0
        ):
            kvs = [_kv(place, record.data, record.revision)] if record else []
            self._mark(transaction["failure"][1 + len(marks) :])
            found = [[_kv(place, *mark)] if mark else [] for mark in kept]
            return {
                "responses": [{"response_range": {"kvs": k}} for k in (kvs, *found)]
            }
        change, *marking = transaction["success"]
        if "request_put" in change:
            put = change["request_put"]
            lease = self._leases[int(put["lease"])] if int(put["lease"]) else None
            write, _, value = base64.b64decode(put["value"]).partition(b" ")
            self._writes[key] = write
            self.keyspace.put(key, value, lease)
            kind = "response_put"
        else:
            self.keyspace.delete(key)
            kind = "response_delete_range"
        self._mark(marking)
        header = {"revision": str(self.keyspace.revision)}
        return {"succeeded": True, "responses": [{kind: {"header": header}}]}

    def _mark(self, marking: Sequence[Mapping[str, Any]]) -> None:
        for mark in marking:
            put, revision = mark["request_put"], self.keyspace.revision
            self._marks[put["key"]] = base64.b64decode(put["value"]), revision

    # -- the way to it ---------------------------------------------------------

    async def open(
        self,
        process: Process,  # noqa: ARG002 - the loop knows who asks
        options: RendezvousOptions,
    ) -> "SimulatedEtcdStore":
        etcd = EtcdOptions(connect_timeout=options.join_limit)
        target = Target.parse(ADDRESS, etcd)
        job = Job.of("/elaunch", "job", etcd.job_ttl)

        def new() -> SimulatedEtcdStore:
            limit = options.silence_limit
            return SimulatedEtcdStore(target, limit, KEYS, job, server=self)

        apis = [Api("v3", new)]
        store = await open_store(ADDRESS, apis, options.join_limit, discard)
        assert isinstance(store, SimulatedEtcdStore)
        return store

    def _run_in_executor(
        self, _: object, request: "Asked", etcd: "Connection"
    ) -> asyncio.Future[Any]:
        return asyncio.ensure_future(etcd.carry(request))


def _kv(place: bytes, data: bytes, revision: int) -> dict[str, Any]:
    return {"key": text(place), "value": text(data), "mod_revision": str(revision)}


def _told(event: StoreEvent) -> dict[str, Any]:
    # A watch may tell a value that was overwritten since, by another write.
    data = b"0" * 16 + b" " + (event.value or b"")
    kv = _kv(KEYS.of_key(event.key), data, event.revision)
    return {"type": "PUT" if event.value is not None else "DELETE", "kv": kv}


@attrs.define(eq=False)
class Connection:
    """What a store has instead of a `Gateway`: requests run at the server."""

    server: SimulatedEtcd
    endpoint: Endpoint
    timeout: float
    cluster_id: str | None = attrs.field(default=None, init=False)

    async def carry(self, request: "Asked") -> Any:
        """Send a request and wait for its answer, as a thread would."""
        network = self.server.network
        answer: asyncio.Future[tuple[Any, int]] = (
            asyncio.get_running_loop().create_future()
        )
        try:
            async with asyncio.timeout(self.timeout):
                end = await network.connect(self.server.loop.asking(), ADDRESS)
        except (OSError, TimeoutError) as error:
            raise Unavailable(str(error) or "no answer in time") from error

        def hear(message: tuple[Any, int]) -> None:
            if not answer.done():
                answer.set_result(message)

        def lose(reason: str) -> None:
            if not answer.done():
                answer.set_exception(Unavailable(reason))

        end.on_message, end.on_lost = hear, lose
        end.send(lambda there: there.send(self._serve(request)))
        try:
            async with asyncio.timeout(self.timeout):
                said, number = await answer
        except TimeoutError:
            raise Unavailable("no answer in time") from None
        finally:
            end.close()
        self.cluster_id = str(number)
        if isinstance(said, Exception):
            raise said
        return said

    def _serve(self, request: "Asked") -> tuple[Any, int]:
        self.server.requests += 1
        try:
            return request(self.server), self.server.number
        except (LeaseGone, LeaseExists) as error:
            return error, self.server.number

    def close(self) -> None:
        """Nothing is kept open."""


Asked = Callable[[SimulatedEtcd], Any]


@attrs.define(eq=False)
class SimulatedStream:
    """What a watch has instead of a `Stream`."""

    etcd: Connection
    prefix: str
    since: int
    _said: asyncio.Queue[dict[str, Any] | Exception] = attrs.field(
        factory=asyncio.Queue, init=False
    )
    _task: asyncio.Task[None] = attrs.field(init=False)
    _end: End | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._task = asyncio.ensure_future(self._open())

    async def next(self) -> dict[str, Any] | Exception:
        return await self._said.get()

    def close(self) -> None:
        self._task.cancel()
        if self._end:
            self._end.close()

    async def _open(self) -> None:
        server = self.etcd.server
        try:
            end = await server.network.connect(server.loop.asking(), ADDRESS)
        except OSError as error:
            self._said.put_nowait(Unavailable(str(error)))
            return
        self._end = end
        end.on_message = self._said.put_nowait
        end.on_lost = lambda reason: self._said.put_nowait(Unavailable(reason))
        end.send(lambda there: server.watch(there, self.prefix, self.since))


class SimulatedEtcdStore(EtcdV3Store):
    """The real store, with simulated connections."""

    def __init__(self, *args: Any, server: SimulatedEtcd) -> None:
        self._server = server
        super().__init__(*args)

    @property
    def number(self) -> int:
        """Number of the store that answered."""
        return int(self.link.ring._cluster_id or 0)

    def _connect(self, endpoint: Endpoint, connections: int = 1) -> Any:  # noqa: ARG002 - nothing limits them here
        return Connection(self._server, endpoint, self.target.timeout)

    def _stream(self, start: bytes, end: bytes, since: int) -> Any:  # noqa: ARG002 - the beginning says it
        etcd = Connection(self._server, self.link.ring.endpoint, self.target.timeout)
        return SimulatedStream(etcd, KEYS.key(start) or "", since)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("family", FAMILIES)
def test_no_law_is_broken(family: str, seed: int) -> None:
    scenario = generate(family, seed)

    report = run(scenario, SimulatedEtcd)

    assert not report.broken, tell(scenario, SimulatedEtcd)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_done_twice_and_no_change_is_missed(seed: int) -> None:
    keep_diary(SimulatedEtcd, seed).check()


@pytest.mark.parametrize("phase", [n / 8 for n in range(16)])
@pytest.mark.parametrize("trouble", [stand_still, lose_packets])
def test_an_outage_of_ten_seconds_ends_no_lease(
    trouble: Callable[[Backend, Process], Callable[[], None]], phase: float
) -> None:
    endure_outage(SimulatedEtcd, trouble, seconds=10, phase=phase).check()
