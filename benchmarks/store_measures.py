"""What store.py measures of one server, and what it prints of it."""

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence

import attrs
from store_clients import Clients, Task
from store_load import (
    Done,
    crowd,
    fill,
    gloo,
    our_add,
    our_get,
    ping_pong,
    raw_add,
    raw_get,
    raw_multi_get,
    raw_set,
    storm,
    torch_add,
    torch_get,
)
from store_servers import ASYNCIO, UVLOOP, Server


CLIENTS = (1, 8, 32)
RANKS = (8, 16, 32)
WAITERS = 64
SOCKETS = 2_000
KEYS = 100_000
KEYS_AT_ONCE = 1_000
WAKE_UPS = 600

OUR_CLIENT = "elaunch-client"
TORCH_CLIENT = "torch-client"

LEVEL: Mapping[str, float] = {ASYNCIO: 1.0, UVLOOP: 1.0}
EIGHT_ADD: Mapping[str, float] = {ASYNCIO: 0.4, UVLOOP: 0.6}


@attrs.frozen
class Row:
    """One line of the table.

    Attributes:
        title: What is measured.
        unit: Of the figures.
        more: Whether more is better.
        goals: The ratio to torch's that each of our servers should reach.
    """

    title: str
    unit: str
    more: bool = False
    goals: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen
class Trial:
    """What a measurement works with.

    Attributes:
        server: The server.
        clients: The client processes.
        seconds: How long a load lasts.
        salt: Makes the keys of this trial its own.
    """

    server: Server
    clients: Clients
    seconds: float
    salt: str


@attrs.frozen
class Measure:
    """Something that is measured.

    Attributes:
        name: Selects it with ``--only``.
        rows: What it prints.
        figures: Measures; returns a figure for each row.
        torch: Whether the clients need torch.
        rounds: Most rounds that it is worth.
        fresh: Whether each server has to be a new one.
    """

    name: str
    rows: Sequence[Row]
    figures: Callable[[Trial], Sequence[float]]
    torch: bool = False
    rounds: int = 100
    fresh: bool = False


def _load(
    name: str,
    title: str,
    task: Task[[int, float], Done],
    count: int,
    goals: Mapping[str, float],
) -> Measure:
    """Return the measure of one operation that so many clients repeat."""

    def figures(trial: Trial) -> Sequence[float]:
        server = trial.server
        before = server.processor_time()
        done = trial.clients.run(count, task, server.port, trial.seconds)
        spent = server.processor_time() - before
        operations = sum(one.operations for one in done)
        took = max(one.end for one in done) - min(one.begin for one in done)
        return operations / took, spent / operations * 1e6

    clients = "1 client" if count == 1 else f"{count} clients"
    rows = (
        Row(f"{title}, {clients}", "op/s", more=True, goals=goals),
        Row("  processor time of the server", "us/op"),
    )
    return Measure(name, rows, figures, torch=name == TORCH_CLIENT)


def _multi_get(trial: Trial) -> Sequence[float]:
    (done,) = trial.clients.run(
        1, raw_multi_get, trial.server.port, trial.seconds, KEYS_AT_ONCE
    )
    return (done.operations / (done.end - done.begin),)


def _wake_up(trial: Trial) -> Sequence[float]:
    (sets, woken), (others_sets, others_woken) = trial.clients.run(
        2, ping_pong, trial.server.port, WAKE_UPS, trial.salt
    )
    pairs = itertools.chain(
        zip(sets, others_woken, strict=True), zip(others_sets, woken, strict=True)
    )
    times = [(after - before) * 1e6 for before, after in pairs]
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def _crowd(trial: Trial) -> Sequence[float]:
    (took,) = trial.clients.run(1, crowd, trial.server.port, WAITERS, trial.salt)
    return (took * 1e3,)


def _storm(trial: Trial) -> Sequence[float]:
    (took,) = trial.clients.run(1, storm, trial.server.port, SOCKETS)
    return (took * 1e3,)


def _memory(trial: Trial) -> Sequence[float]:
    trial.clients.run(1, fill, trial.server.port, 1)
    before = trial.server.resident()
    trial.clients.run(1, fill, trial.server.port, KEYS)
    return ((trial.server.resident() - before) / KEYS,)


def _gloo(size: int) -> Measure:
    def figures(trial: Trial) -> Sequence[float]:
        done = trial.clients.run(size, gloo, trial.server.port, size, trial.salt)
        took = max(one.end for one in done) - min(one.begin for one in done)
        return (took * 1e3,)

    row = Row(f"gloo init_process_group, {size} ranks", "ms")
    return Measure("gloo", (row,), figures, torch=True, rounds=3)


def _loads() -> Sequence[Measure]:
    goals: dict[tuple[str, int], Mapping[str, float]] = {
        ("set", 1): LEVEL,
        ("get", 1): LEVEL,
        ("add", 1): LEVEL,
        ("add", 8): EIGHT_ADD,
    }
    return [
        _load(name, name, task, count, goals.get((name, count), {}))
        for name, task in (("set", raw_set), ("get", raw_get), ("add", raw_add))
        for count in CLIENTS
    ]


MEASURES: Sequence[Measure] = (
    *_loads(),
    Measure(
        "multi_get",
        (Row(f"multi_get of {KEYS_AT_ONCE:,} keys, 1 client", "op/s", more=True),),
        _multi_get,
    ),
    Measure(
        "wake-up",
        (
            Row("wake-up, p50", "us", goals={ASYNCIO: 1.5, UVLOOP: 1.5}),
            Row("wake-up, p99", "us"),
        ),
        _wake_up,
    ),
    Measure("waiters", (Row(f"the last of {WAITERS} waiters wakes", "ms"),), _crowd),
    Measure("storm", (Row(f"{SOCKETS:,} sockets connect", "ms"),), _storm, rounds=3),
    Measure(
        "memory",
        (Row(f"memory at {KEYS:,} keys", "B/key"),),
        _memory,
        rounds=1,
        fresh=True,
    ),
    _load(OUR_CLIENT, "our client: wait and get", our_get, 1, {}),
    _load(OUR_CLIENT, "our client: add", our_add, 1, {}),
    _load(TORCH_CLIENT, "torch's client: wait and get", torch_get, 1, {}),
    _load(TORCH_CLIENT, "torch's client: add", torch_add, 1, LEVEL),
    _load(TORCH_CLIENT, "torch's client: add", torch_add, 8, EIGHT_ADD),
    *(_gloo(size) for size in RANKS),
)
