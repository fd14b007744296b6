"""The loop and the network of the simulation: what everything else there relies on."""

import asyncio
import contextlib
import gc
import random
import signal
from collections.abc import Iterator

import pytest

from elaunch.testing.simulation import End, Network, Process, SimulatedLoop, Stuck


SEEDS = range(20)


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    fresh = SimulatedLoop(1)
    yield fresh
    fresh.close()
    assert fresh.faults == []


def order_of(seed: int) -> list[tuple[str, int]]:
    """Return in which order the callbacks of three processes run."""
    loop = SimulatedLoop(seed)
    ran: list[tuple[str, int]] = []
    processes = [loop.process(name) for name in "abc"]
    for number in range(4):
        for process in processes:
            loop.call_soon(ran.append, (process.name, number), context=process.context)
    loop.run_until_complete(asyncio.sleep(1))
    loop.close()
    return ran


class TestOrder:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_the_callbacks_of_one_process_run_in_their_order(self, seed: int) -> None:
        ran = order_of(seed)

        for name in "abc":
            assert [number for who, number in ran if who == name] == [0, 1, 2, 3]

    def test_whose_turn_it_is_depends_on_the_seed_alone(self) -> None:
        orders = [order_of(seed) for seed in SEEDS]

        assert orders == [order_of(seed) for seed in SEEDS]
        assert len({tuple(order) for order in orders}) > len(SEEDS) // 2

    def test_tasks_have_the_same_order_in_every_run(self) -> None:
        async def names(loop: SimulatedLoop) -> list[str]:
            tasks = {
                loop.create_task(asyncio.sleep(1), name=str(number))
                for number in range(50)
            }
            await asyncio.wait(tasks)
            return [task.get_name() for task in tasks]

        kept: list[SimulatedLoop] = []  # so that addresses differ from run to run
        orders = []
        for _ in range(3):
            kept.append(SimulatedLoop(1))
            orders.append(kept[-1].run_until_complete(names(kept[-1])))
            kept[-1].close()

        assert orders[0] == orders[1] == orders[2]


class TestTime:
    def test_it_jumps_to_the_next_timer(self, loop: SimulatedLoop) -> None:
        loop.run_until_complete(asyncio.sleep(86_400))

        assert loop.now == 86_400
        assert loop.steps < 10

    def test_it_stands_still_while_anything_can_run(self, loop: SimulatedLoop) -> None:
        async def work() -> float:
            for _ in range(1000):
                await asyncio.sleep(0)
            return loop.now

        assert loop.run_until_complete(work()) == 0.0

    def test_the_clocks_of_two_processes_differ(self, loop: SimulatedLoop) -> None:
        async def measure() -> tuple[float, float]:
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(5)
            return began, asyncio.get_running_loop().time()

        clocks = [loop.process("a", offset=100.0), loop.process("b", offset=7.0)]
        tasks = [loop.spawn(process, measure()) for process in clocks]
        loop.run_until_complete(asyncio.wait(tasks))

        assert [task.result() for task in tasks] == [(100.0, 105.0), (7.0, 12.0)]
        assert loop.now == 5.0

    @pytest.mark.parametrize("seed", SEEDS)
    def test_who_is_woken_at_a_time_finds_that_it_has_come(self, seed: int) -> None:
        async def measure(draw: random.Random) -> list[float]:
            loop = asyncio.get_running_loop()
            late = []
            for _ in range(200):
                when = loop.time() + draw.uniform(0, 100)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(when):
                        await asyncio.Event().wait()
                late.append(loop.time() - when)
            return late

        loop = SimulatedLoop(seed)
        process = loop.process("a", offset=loop.random.uniform(0, 100))
        late = loop.run_until_complete(loop.spawn(process, measure(loop.random)))
        loop.close()

        assert all(0.0 <= seconds < 1e-6 for seconds in late)

    def test_who_waits_for_what_can_never_happen_is_named(
        self, loop: SimulatedLoop
    ) -> None:
        async def wait_for_nobody() -> None:
            await asyncio.Event().wait()

        task = loop.spawn(loop.process("a"), wait_for_nobody())
        with pytest.raises(Stuck, match="wait_for_nobody"):
            loop.run_until_complete(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)


class TestProcesses:
    def test_after_a_pause_arrivals_come_before_overdue_timers(
        self, loop: SimulatedLoop
    ) -> None:
        ran: list[tuple[str, float]] = []

        def note(what: str) -> None:
            ran.append((what, loop.now))

        process = loop.process("a")
        loop.call_later(1, note, "timer", context=process.context)
        loop.arrive(2, process, note, "arrival")
        loop.pause(process)
        loop.call_later(5, loop.resume, process)
        loop.run_until_complete(asyncio.sleep(6))

        assert ran == [("arrival", 5.0), ("timer", 5.0)]

    def test_a_killed_one_never_runs_again(self, loop: SimulatedLoop) -> None:
        ran: list[float] = []

        async def beat() -> None:
            while True:
                ran.append(loop.now)
                await asyncio.sleep(1)

        process = loop.process("a")
        task = loop.spawn(process, beat())
        loop.call_later(2.5, loop.kill, process)
        loop.arrive(4, process, ran.append, 4.0)
        loop.run_until_complete(asyncio.sleep(10))

        assert ran == [0.0, 1.0, 2.0]
        assert not task.done()
        loop.bury()
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))

    def test_the_garbage_collector_does_not_end_a_killed_one(
        self, loop: SimulatedLoop
    ) -> None:
        ended: list[str] = []

        async def work() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.append("work")

        process = loop.process("a")
        loop.spawn(process, work())
        loop.run_until_complete(asyncio.sleep(1))
        loop.kill(process)
        gc.collect()

        assert ended == []
        loop.bury()
        (task,) = asyncio.all_tasks(loop)
        task.cancel()
        loop.run_until_complete(asyncio.wait([task]))
        assert ended == ["work"]

    def test_the_timers_of_a_killed_one_run_when_it_is_buried(
        self, loop: SimulatedLoop
    ) -> None:
        process = loop.process("a")
        task = loop.spawn(process, asyncio.sleep(2))
        loop.call_later(1, loop.kill, process)
        loop.run_until_complete(asyncio.sleep(3))

        assert not task.done()
        loop.bury()
        loop.run_until_complete(asyncio.wait([task]))

    def test_a_slow_one_takes_its_time_for_each_callback(
        self, loop: SimulatedLoop
    ) -> None:
        ran: list[float] = []
        slow = loop.process("a")
        slow.cost = 0.5
        for _ in range(3):
            loop.call_soon(lambda: ran.append(loop.now), context=slow.context)
        loop.run_until_complete(asyncio.sleep(5))

        assert ran == [0.0, 0.5, 1.0]

    def test_a_signal_runs_the_handler_or_ends_the_process(
        self, loop: SimulatedLoop
    ) -> None:
        ran: list[int] = []
        careful, careless = loop.process("a"), loop.process("b")

        async def handle() -> None:
            asyncio.get_running_loop().add_signal_handler(
                signal.SIGTERM, ran.append, signal.SIGTERM
            )

        loop.run_until_complete(loop.spawn(careful, handle()))
        for process in (careful, careless):
            loop.signal(process, signal.SIGTERM)
        loop.run_until_complete(asyncio.sleep(1))

        assert ran == [signal.SIGTERM]
        assert (careful.dead, careless.dead) == (False, True)

    def test_an_error_that_nobody_waits_for_is_kept(self) -> None:
        loop = SimulatedLoop(1)
        loop.call_soon(lambda: 1 / 0, context=loop.process("a").context)
        loop.run_until_complete(asyncio.sleep(1))
        loop.close()

        assert len(loop.faults) == 1
        assert "ZeroDivisionError" in loop.faults[0]


class Link:
    """A connection from a client to a server, and what arrives at each side."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self.loop = loop
        self.network = Network(loop, loop.random, slowest=0.5)
        self.client, self.server = loop.process("client"), loop.process("server")
        self.accepted: list[End] = []
        self.arrived: list[object] = []
        self.lost: list[str] = []
        self.network.listen("server", self.server, self._accept)

    def _accept(self, end: End) -> None:
        self._hear(end)
        self.accepted.append(end)

    def _hear(self, end: End) -> None:
        end.on_message = self.arrived.append
        end.on_lost = self.lost.append

    def connect(self) -> End:
        end = self.loop.run_until_complete(self.network.connect(self.client, "server"))
        assert isinstance(end, End)
        self._hear(end)
        return end

    def send(self, end: End, count: int) -> None:
        for number in range(count):
            end.send(number)

    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))


@pytest.fixture(params=range(10))
def link(loop: SimulatedLoop, request: pytest.FixtureRequest) -> Link:
    loop.random.seed(request.param)
    return Link(loop)


def cut_off(link: Link, who: Process) -> None:
    """Cut a process off for ten seconds from now."""
    link.network.silence(who)
    link.loop.call_later(10, link.network.heal, who)


class TestNetwork:
    def test_a_connection_keeps_the_order(self, link: Link) -> None:
        link.send(link.connect(), 50)
        link.wait(1)

        assert link.arrived == list(range(50))

    def test_a_partition_holds_what_was_sent_and_heals_in_order(
        self, link: Link
    ) -> None:
        end = link.connect()
        link.send(end, 5)
        link.wait(1)
        cut_off(link, link.server)
        link.send(end, 5)
        link.wait(9)
        before = list(link.arrived)
        link.wait(2)
        link.send(end, 5)
        link.wait(1)

        assert before == list(range(5))
        assert link.arrived == [*range(5), *range(5), *range(5)]
        assert link.lost == []

    def test_who_is_deaf_can_still_be_heard(self, link: Link) -> None:
        end = link.connect()
        link.network.deafen(link.client)
        link.send(end, 1)
        link.wait(1)
        heard = list(link.arrived)
        link.accepted[0].send("answer")
        link.wait(1)
        unheard = list(link.arrived)
        link.network.heal(link.client)
        link.wait(1)

        assert heard == unheard == [0]
        assert link.arrived == [0, "answer"]

    def test_a_reset_loses_what_is_under_way_and_tells_both(self, link: Link) -> None:
        end = link.connect()
        cut_off(link, link.server)
        link.send(end, 5)
        link.network.reset(link.client)
        link.wait(20)
        link.send(end, 5)
        link.wait(1)

        assert link.arrived == []
        assert link.lost == ["the connection was reset"] * 2

    def test_a_close_comes_after_what_was_sent(self, link: Link) -> None:
        end = link.connect()
        link.send(end, 5)
        end.close()
        link.wait(1)

        assert link.arrived == list(range(5))
        assert link.lost == ["the connection was closed by the other side"]

    def test_nobody_is_told_of_who_vanishes(self, link: Link) -> None:
        end = link.connect()
        link.send(end, 5)
        link.loop.kill(link.client)
        link.network.vanish(link.client)
        link.wait(1)
        link.accepted[0].send("are you there?")
        link.wait(100)

        assert link.arrived == list(range(5))
        assert link.lost == []

    def test_a_connection_waits_for_the_end_of_a_partition(self, link: Link) -> None:
        cut_off(link, link.server)
        link.connect()

        assert 10 <= link.loop.now < 12

    def test_nobody_listens_where_a_process_has_died(self, link: Link) -> None:
        link.loop.kill(link.server)
        link.network.bury(link.server)

        with pytest.raises(ConnectionRefusedError, match="nobody listens at 'server'"):
            link.connect()
