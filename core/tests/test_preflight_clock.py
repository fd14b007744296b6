"""The check ``clock``: by the kernel's bound, and by a time server that runs here."""

import asyncio
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from elaunch.api import PreflightContext, PreflightResult
from elaunch.preflights.clock import Clock
from elaunch.preflights.kernel_clock import KernelClock, kernel_clock
from elaunch.preflights.options import ClockOptions
from elaunch.preflights.time_server import NoTime, ask
from elaunch.testing import PreflightContract


SINCE_1900 = 2_208_988_800
Answer = Callable[[bytes], list[bytes]]


def stamp(seconds: float) -> bytes:
    since = seconds + SINCE_1900
    return struct.pack("!II", int(since) % (1 << 32), int(since % 1 * (1 << 32)))


def reply(
    question: bytes,
    ahead: float = 0.0,
    *,
    leap: int = 0,
    mode: int = 4,
    stratum: int = 2,
    mark: bytes | None = None,
) -> bytes:
    """Return what a server says whose clock is so many seconds ahead."""
    now = time.time() + ahead
    head = struct.pack("!BBbb", leap << 6 | 4 << 3 | mode, stratum, 0, -20)
    # It is 1/8 s from true time, there and back, and may have drifted by 1/16 s.
    distance = struct.pack("!II", 1 << 13, 1 << 12)
    times = (stamp(now - 60), question[40:48] if mark is None else mark)
    return b"".join((head, distance, b"RATE", *times, stamp(now), stamp(now)))


class TimeServer:
    """Answers each question as it is told, until it is closed."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            question, address = self._socket.recvfrom(1024)
            if not question:
                return
            self.asked.append(question)
            for answer in self.answer(question):
                self._socket.sendto(answer, address)

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], TimeServer]]:
    servers = []

    def start(answer: Answer) -> TimeServer:
        servers.append(TimeServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def right(serve: Callable[[Answer], TimeServer]) -> TimeServer:
    return serve(lambda question: [reply(question)])


def look(clock: Clock) -> PreflightResult:
    return asyncio.run(clock.check(PreflightContext()))


def by_server(port: int, max_error: float = 1.0, timeout: float = 10.0) -> Clock:
    server = f"127.0.0.1:{port}"
    return Clock(ClockOptions(server=server, max_error=max_error, timeout=timeout))


def by_kernel(known: KernelClock | None) -> PreflightResult:
    return look(Clock(ClockOptions(max_error=0.5), lambda: known))


class TestContract(PreflightContract):
    @pytest.fixture
    def fit(self, right: TimeServer) -> Clock:
        return by_server(right.port, max_error=30)

    @pytest.fixture
    def unfit(self, right: TimeServer) -> Clock:
        return by_server(right.port, max_error=0.01)


def test_a_clock_that_nobody_keeps_is_a_problem() -> None:
    result = by_kernel(KernelClock(synchronised=False, max_error=0.0))

    assert result.problem.startswith("the kernel has the clock as unsync")
    assert result.facts == {"synchronised": False}


def test_the_bound_of_the_kernel_counts() -> None:
    good = by_kernel(KernelClock(synchronised=True, max_error=0.25))
    bad = by_kernel(KernelClock(synchronised=True, max_error=0.75))

    assert good.problem == ""
    assert good.facts == {"synchronised": True, "error": 0.25}
    assert bad.problem.startswith("the clock may be wrong by 0.750 s")
    assert bad.problem.endswith(" and 0.5 s are allowed")


def test_a_system_that_does_not_tell_is_a_problem_with_a_way_out() -> None:
    assert "(clock:server=HOST)" in by_kernel(None).problem


@pytest.mark.skipif(sys.platform != "linux", reason="the call is Linux's")
def test_the_kernel_is_asked() -> None:
    known = kernel_clock()

    # Some sandboxes refuse; whoever answers tells a bound, which is 16 s at most.
    assert known is None or 0 <= known.max_error <= 17


def test_a_server_with_the_same_time_agrees_within_its_own_distance(
    right: TimeServer,
) -> None:
    found = ask("127.0.0.1", right.port, 10)

    # An eighth of a second there and back, and a sixteenth of drift.
    assert found.error >= 1 / 8
    assert abs(found.offset) <= found.error


def test_no_question_tells_the_time_here_or_is_like_another(right: TimeServer) -> None:
    for _ in range(2):
        ask("127.0.0.1", right.port, 10)
    first, second = right.asked

    assert first[:1] == b"\x23"
    assert first[1:40] == bytes(39)
    assert first[40:] != second[40:]
    for question in (first, second):
        (seconds,) = struct.unpack("!I", question[40:44])
        assert abs(seconds - SINCE_1900 - time.time()) > 60


@pytest.mark.parametrize(("ahead", "how"), [(300.0, "behind"), (-300.0, "ahead of")])
def test_a_clock_that_is_off_is_told_with_its_direction(
    serve: Callable[[Answer], TimeServer], ahead: float, how: str
) -> None:
    server = serve(lambda question: [reply(question, ahead)])
    result = look(by_server(server.port, max_error=60))

    assert f" s {how} '127.0.0.1:{server.port}', give or take 0." in result.problem
    assert result.problem.endswith("and 60 s are allowed")
    assert isinstance(result.facts["offset"], float)
    assert abs(result.facts["offset"] - ahead) < 60


def test_what_can_not_be_told_counts_as_wrong(right: TimeServer) -> None:
    # The clocks agree, but the server is only sure of an eighth of a second.
    result = look(by_server(right.port, max_error=0.1))

    assert "give or take" in result.problem


def test_times_after_2036_are_of_the_next_era(
    serve: Callable[[Answer], TimeServer],
) -> None:
    later = 1 << 31  # a clock that is so far ahead is in the next era
    server = serve(lambda question: [reply(question, later)])
    found = ask("127.0.0.1", server.port, 10)

    assert abs(abs(found.offset) - later) < 60


def test_an_answer_to_another_question_is_not_heard(
    serve: Callable[[Answer], TimeServer],
) -> None:
    def answer(question: bytes) -> list[bytes]:
        forged = reply(question, 1e6, mark=b"forged!!")
        return [forged, b"short", reply(question)]

    found = ask("127.0.0.1", serve(answer).port, 10)

    assert abs(found.offset) < 60


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda q: [reply(q, leap=3)], "does not know the time itself"),
        (lambda q: [reply(q, stratum=16)], "does not know the time itself"),
        (lambda q: [reply(q, stratum=0)], "refuses to tell the time ('RATE')"),
        (lambda q: [reply(q, mode=3)], "answers, but not as a time server"),
        (lambda _: [b"nonsense"] * 8, "answers something else than it was asked"),
    ],
)
def test_a_server_that_tells_no_time_is_a_problem(
    serve: Callable[[Answer], TimeServer], answer: Answer, why: str
) -> None:
    server = serve(answer)
    result = look(by_server(server.port))

    assert result.problem == f"time server '127.0.0.1:{server.port}' {why}"


def test_a_server_that_says_nothing_is_a_problem(
    serve: Callable[[Answer], TimeServer],
) -> None:
    server = serve(lambda _: [])
    result = look(by_server(server.port, timeout=0.5))

    assert result.problem.endswith("has not answered within 0.4 s")
    assert len(server.asked) == 3


def test_a_datagram_that_is_lost_is_asked_for_again(
    serve: Callable[[Answer], TimeServer],
) -> None:
    seen: list[bytes] = []

    def answer(question: bytes) -> list[bytes]:
        seen.append(question)
        return [reply(question)] if len(seen) > 1 else []

    assert look(by_server(serve(answer).port, max_error=60)).problem == ""


def test_a_server_that_is_not_there_is_a_problem() -> None:
    with pytest.raises(NoTime, match="is a name that can't be resolved"):
        ask("nowhere.invalid", 123, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.connect(taken.getsockname())  # it hears nobody else now
        with pytest.raises(NoTime, match="can't be reached: Connection refused"):
            ask("127.0.0.1", taken.getsockname()[1], 1)


@pytest.mark.parametrize(
    "server",
    ["a b", "host:port", "a:1:2", "http://x", ":1", "a:0", "a:70000", "a:\u0661"],
)
def test_what_is_no_server_is_refused(server: str) -> None:
    with pytest.raises(ValueError, match="server"):
        ClockOptions(server=server)
