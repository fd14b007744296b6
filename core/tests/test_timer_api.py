"""`expires`, and the server in the process that started the workers."""

import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from elaunch.timer import (
    LocalTimerClient,
    LocalTimerServer,
    MultiprocessingRequestQueue,
    RequestQueue,
    TimerClient,
    TimerRequest,
    TimerServer,
    api,
    configure,
    expires,
)


DEADLINE = 20.0
LATER = 3600.0


class Notes(TimerClient):
    """A client that remembers what it was asked for."""

    def __init__(self) -> None:
        self.acquired: list[tuple[str, float]] = []
        self.released: list[str] = []

    def acquire(self, scope_id: str, expiration_time: float) -> None:
        self.acquired.append((scope_id, expiration_time))

    def release(self, scope_id: str) -> None:
        self.released.append(scope_id)


@pytest.fixture(autouse=True)
def _no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_configured", [])


def test_without_a_client_there_is_no_timer() -> None:
    with pytest.raises(RuntimeError, match="configure"), expires(after=1):
        pytest.fail("the block must not run")


def test_the_configured_client_is_told_and_a_given_one_wins() -> None:
    default, other = Notes(), Notes()
    configure(Notes())
    configure(default)
    before = time.time()
    with expires(after=60):
        assert len(default.acquired) == 1
        assert default.released == []
    with expires(after=60, client=other, scope="mine"):
        pass

    ((scope, when),) = default.acquired
    assert before + 60 <= when <= time.time() + 60
    assert default.released == [scope]
    assert [name for name, _ in other.acquired] == other.released == ["mine"]


def test_an_exception_passes_and_the_timer_ends() -> None:
    notes = Notes()
    with pytest.raises(KeyError), expires(after=60, client=notes):
        raise KeyError("x")

    assert len(notes.released) == 1


def test_a_scope_is_the_place_in_the_code_so_that_recursion_starts_it_anew() -> None:
    notes = Notes()

    def step(left: int) -> None:
        with expires(after=60, client=notes):
            if left:
                step(left - 1)

    step(2)
    with expires(after=60, client=notes):
        pass
    scopes = [scope for scope, _ in notes.acquired]

    assert scopes[0] == scopes[1] == scopes[2] != scopes[3]
    assert scopes[0].startswith(f"{__file__}#")


def test_requests_compare_by_what_they_say() -> None:
    one = TimerRequest(1, "scope", 5.0)

    assert one == TimerRequest(1, "scope", 5.0)
    assert len({one, TimerRequest(1, "scope", 5.0)}) == 1
    assert one != TimerRequest(2, "scope", 5.0)
    assert one != TimerRequest(1, "scope", -1)


class TestRequestQueue:
    def test_it_gives_no_more_than_was_asked_for_and_no_more_than_there_is(
        self,
    ) -> None:
        source: queue.Queue[Any] = queue.Queue()
        requests = MultiprocessingRequestQueue(source)
        for number in range(5):
            source.put(TimerRequest(number, "scope", 1.0))

        assert requests.size() == 5
        assert [r.worker_id for r in requests.get(3, timeout=0)] == [0, 1, 2]
        assert [r.worker_id for r in requests.get(10, timeout=0.01)] == [3, 4]
        assert requests.get(1, timeout=0) == []

    def test_it_waits_for_the_first(self) -> None:
        source: queue.Queue[Any] = queue.Queue()
        requests = MultiprocessingRequestQueue(source)
        threading.Timer(0.05, source.put, (TimerRequest(7, "scope", 1.0),)).start()

        (request,) = requests.get(1, timeout=DEADLINE)
        assert request.worker_id == 7


@pytest.fixture
def child() -> Iterator[int]:
    """A process that only a signal ends."""
    code = "import signal; signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        yield process.pid
        process.kill()


def local(**changes: float) -> LocalTimerServer:
    return LocalTimerServer(queue.Queue(), **changes)  # type: ignore[arg-type] # will do in one process


class TestLocalServer:
    def test_what_is_released_is_no_longer_there(self) -> None:
        server = local()
        server.register_timers([TimerRequest(1, "a", 5.0), TimerRequest(1, "b", 9.0)])
        server.register_timers([TimerRequest(1, "a", -1), TimerRequest(2, "c", -1)])

        assert server.get_expired_timers(100.0) == {1: [TimerRequest(1, "b", 9.0)]}

    def test_a_timer_expires_at_its_time(self) -> None:
        server = local()
        server.register_timers([TimerRequest(1, "a", 5.0), TimerRequest(2, "a", 6.0)])

        assert server.get_expired_timers(4.9) == {}
        assert [*server.get_expired_timers(5.0)] == [1]
        assert [*server.get_expired_timers(6.0)] == [1, 2]
        server.clear_timers({1})
        assert [*server.get_expired_timers(6.0)] == [2]

    def test_who_holds_an_expired_timer_is_killed_also_with_a_long_interval(
        self, child: int
    ) -> None:
        source: queue.Queue[Any] = queue.Queue()
        server = LocalTimerServer(source, max_interval=LATER)
        server.start()
        try:
            source.put(TimerRequest(child, "scope", time.time() + 0.1))
            ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        finally:
            server.stop()

        assert ended
        assert ended.si_status == signal.SIGKILL

    def test_a_process_that_is_gone_is_forgotten(self, child: int) -> None:
        os.kill(child, signal.SIGKILL)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        server = local(max_interval=0.01)
        server.register_timers([TimerRequest(1 << 22, "a", 1.0)])
        server._run_watchdog()

        assert server.get_expired_timers(time.time()) == {}

    def test_its_thread_ends_at_once_whatever_it_waits_for(self) -> None:
        server = local(max_interval=LATER)
        server.start()
        thread = server._watchdog_thread
        server.stop()
        server.stop()

        assert thread
        assert not thread.is_alive()

    def test_a_worker_of_multiprocessing_is_killed(self) -> None:
        context = multiprocessing.get_context("spawn")
        source = context.Queue()
        server = LocalTimerServer(source, max_interval=LATER)
        worker = context.Process(target=hang, args=(source,))
        worker.start()
        server.start()
        worker.join(DEADLINE)
        server.stop()
        source.close()

        assert worker.exitcode == -signal.SIGKILL
        worker.close()


def hang(source: Any) -> None:
    configure(LocalTimerClient(source))
    with expires(after=0.2):
        signal.pause()


class Given(RequestQueue):
    """Requests that are there from the beginning."""

    def __init__(self, *requests: TimerRequest) -> None:
        self.requests = [*requests]

    def size(self) -> int:
        return len(self.requests)

    def get(self, size: int, timeout: float) -> list[TimerRequest]:
        del timeout
        taken, self.requests = self.requests[:size], self.requests[size:]
        return taken


class Reaper(TimerServer):
    """Reaps as it is told to."""

    def __init__(
        self, requests: RequestQueue, reap: Mapping[int, Callable[[], bool]]
    ) -> None:
        super().__init__(requests, max_interval=0.01)
        self.reap = reap
        self.timers: list[TimerRequest] = []

    def register_timers(self, timer_requests: list[TimerRequest]) -> None:
        self.timers += timer_requests

    def clear_timers(self, worker_ids: set[int]) -> None:
        self.timers = [t for t in self.timers if t.worker_id not in worker_ids]

    def get_expired_timers(
        self, deadline: float
    ) -> Mapping[int, Sequence[TimerRequest]]:
        return {t.worker_id: [t] for t in self.timers if t.expiration_time <= deadline}

    def _reap_worker(self, worker_id: int) -> bool:
        return self.reap[worker_id]()


def test_timers_of_reaped_workers_and_of_those_that_raise_are_cleared() -> None:
    def raises() -> bool:
        raise OSError("x")

    requests = Given(*(TimerRequest(number, "scope", 1.0) for number in range(3)))
    reap = {0: lambda: True, 1: raises, 2: lambda: False}
    server = Reaper(requests, reap)
    server._run_watchdog()

    assert [timer.worker_id for timer in server.timers] == [2]
