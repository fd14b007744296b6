"""Timers over a named pipe: wire format, book, and the server in a thread."""

import contextlib
import errno
import json
import os
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elaunch.timer import (
    FileTimerClient,
    FileTimerRequest,
    FileTimerServer,
    expires,
    file_client,
)
from elaunch.timer.book import LINE_LIMIT, TIMERS_LIMIT, Book, Lines, killing, parsed
from elaunch.timer.pipe import PipeReader, is_read, make_pipe
from elaunch.timer.processes import Holder, holder


LATER = 3600.0


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "timers")


def line(request: FileTimerRequest) -> bytes:
    return request.to_json().encode()


class TestWire:
    def test_a_request_is_torchs_line(self) -> None:
        request = FileTimerRequest(7, 'a "scope"', 12.5, 9)

        assert json.loads(request.to_json()) == {
            "version": 1,
            "pid": 7,
            "scope_id": 'a "scope"',
            "expiration_time": 12.5,
            "signal": 9,
        }
        assert parsed(line(request)) == request
        assert request != FileTimerRequest(7, 'a "scope"', 12.5, 15)
        assert request.worker_pid == 7

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"no json",
            b"[1]",
            b"null",
            b"{}",
            b'{"pid": "x", "scope_id": "", "expiration_time": 1, "signal": 9}',
            b'{"pid": 0, "scope_id": "", "expiration_time": 1, "signal": 9}',
            b'{"pid": -1, "scope_id": "", "expiration_time": 1, "signal": 9}',
            b'{"pid": 1, "scope_id": "", "expiration_time": 1, "signal": 9}',
            b'{"pid": 7, "scope_id": "", "expiration_time": NaN, "signal": 9}',
            b'{"pid": 7, "scope_id": "", "expiration_time": 1, "signal": 1000}',
            b'{"pid": Infinity, "scope_id": "", "expiration_time": 1, "signal": 9}',
            b"\xff\xfe",
            b"[" * 4000,
        ],
    )
    def test_what_no_client_writes_asks_for_nothing(self, text: bytes) -> None:
        assert parsed(text) is None

    def test_lines_come_whole_however_they_are_cut(self) -> None:
        lines = Lines()

        assert lines.feed(b"one\ntw") == [b"one"]
        assert lines.feed(b"o\n\nthree") == [b"two"]
        assert lines.feed(b"\n") == [b"three"]

    def test_a_line_that_is_too_long_is_left_out_and_the_next_is_read(self) -> None:
        lines = Lines()

        assert lines.feed(b"x" * (LINE_LIMIT + 1) + b"\nnext\n") == [b"next"]
        for _ in range(100):
            assert lines.feed(b"x" * LINE_LIMIT) == []
            assert len(lines._rest) < LINE_LIMIT
        assert lines.feed(b"end of it\nnext\n") == [b"next"]


HOLDERS = {pid: Holder(os.getpid(), os.getpid(), 0) for pid in (7, 8)}
"""Processes of the book; each is there as long as this one is."""


def book() -> Book:
    return Book(HOLDERS.get)


def expired(kept: Book, now: float) -> list[list[str]]:
    return [[t.request.scope_id for t in over] for over in kept.expire(now)]


class TestBook:
    def test_a_timer_runs_by_a_clock_that_nobody_sets(self) -> None:
        kept = book()
        assert kept.next_deadline() is None
        kept.take([FileTimerRequest(7, "a", 1010.0, 9)], now=50.0, unix=1000.0)

        assert kept.next_deadline() == 60.0
        assert expired(kept, 59.9) == []
        assert expired(kept, 60.0) == [["a"]]
        assert expired(kept, 60.0) == []

    def test_what_is_released_or_started_anew_does_not_expire(self) -> None:
        kept = book()
        ask = [
            FileTimerRequest(7, "a", 1.0, 9),
            FileTimerRequest(7, "b", 1.0, 9),
            FileTimerRequest(7, "a", -1),
            FileTimerRequest(7, "b", 5.0, 9),
            FileTimerRequest(8, "nobody's", -1),
        ]
        kept.take(ask, now=0.0, unix=0.0)

        assert expired(kept, 4.0) == []
        assert kept.next_deadline() == 5.0

    def test_those_of_one_process_come_together_the_earliest_first(self) -> None:
        kept = book()
        ask = [
            FileTimerRequest(7, "late", 3.0, 15),
            FileTimerRequest(7, "no signal", 1.0, 0),
            FileTimerRequest(7, "early", 2.0, 9),
            FileTimerRequest(7, "later", 9.0, 9),
            FileTimerRequest(8, "other", 2.5, 9),
        ]
        kept.take(ask, now=0.0, unix=0.0)
        seven, eight = kept.expire(4.0)

        assert [t.request.scope_id for t in seven] == ["no signal", "early", "late"]
        fatal = killing(seven)
        assert fatal
        assert fatal.request.scope_id == "early"
        assert [t.request.scope_id for t in eight] == ["other"]
        assert kept.next_deadline() is None

    def test_who_is_not_killed_keeps_the_timers_that_run(self) -> None:
        kept = book()
        ask = [FileTimerRequest(7, "a", 1.0, 0), FileTimerRequest(7, "b", 2.0, 9)]
        kept.take(ask, now=0.0, unix=0.0)
        (over,) = kept.expire(1.0)

        assert killing(over) is None
        assert expired(kept, 2.0) == [["b"]]

    def test_strangers_are_refused_and_a_process_holds_no_more_than_enough(
        self,
    ) -> None:
        kept = book()
        stranger = FileTimerRequest(9, "a", 1.0, 9)
        many = [FileTimerRequest(7, str(n), 1.0, 9) for n in range(TIMERS_LIMIT + 1)]

        assert kept.take([stranger], now=0, unix=0) == [stranger]
        assert kept.take(many, now=0, unix=0) == many[-1:]
        assert kept.take(many[:1], now=0, unix=0) == []

    def test_a_process_that_is_gone_expires_no_more(self) -> None:
        gone = Holder(os.getpid(), os.getpid(), started=1)
        kept = Book(lambda _: gone)
        kept.take([FileTimerRequest(7, "a", 1.0, 9)], now=0.0, unix=0.0)

        assert kept.expire(2.0) == []
        assert kept.next_deadline() is None


@pytest.fixture
def family() -> Iterator[tuple[int, int]]:
    """A process and its child, which only signals end."""
    code = (
        "import subprocess, sys; "
        "p = subprocess.Popen(['sleep', '3600']); print(p.pid, flush=True); p.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        yield parent.pid, child
        parent.kill()
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            return


@pytest.mark.skipif(sys.platform != "linux", reason="families are seen in /proc")
class TestProcesses:
    def test_a_worker_and_who_is_below_it_are_found(
        self, family: tuple[int, int]
    ) -> None:
        parent, child = family
        found = holder(child, {parent})

        assert found
        assert (found.pid, found.root) == (child, parent)
        assert found.is_there()
        own = holder(parent, {parent})
        assert own
        assert own.root == parent

    def test_others_are_not(self, family: tuple[int, int]) -> None:
        parent, child = family

        assert holder(os.getpid(), {parent}) is None
        assert holder(os.getppid(), {parent}) is None
        assert holder(parent, {child}) is None
        assert holder(1 << 22, {parent}) is None

    def test_a_kernel_without_handles_of_processes_will_do(
        self, family: tuple[int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuses(pid: int) -> int:
            raise OSError(errno.ENOSYS, "not here", pid)

        parent, child = family
        found = holder(child, {parent})
        monkeypatch.setattr(os, "pidfd_open", refuses)

        assert found
        assert found.send(signal.SIGKILL)
        os.waitpid(parent, 0)

    def test_who_may_not_be_killed_is_left_alone(
        self, family: tuple[int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuses(*_: int) -> None:
            raise PermissionError

        parent, child = family
        found = holder(child, {parent})
        monkeypatch.setattr(signal, "pidfd_send_signal", refuses)

        assert found
        assert not found.send(signal.SIGKILL)

    def test_a_signal_goes_to_that_very_process(self, family: tuple[int, int]) -> None:
        parent, child = family
        found = holder(child, {parent})
        assert found
        another = found._replace(started=found.started + 1)

        assert not another.is_there()
        assert not another.send(signal.SIGKILL)
        assert found.is_there()
        assert found.send(signal.SIGKILL)
        os.waitpid(parent, 0)
        assert not found.send(signal.SIGKILL)


class TestPipe:
    def test_only_its_user_can_use_it(self, path: str) -> None:
        before = os.umask(0)
        try:
            make_pipe(path)
        finally:
            os.umask(before)

        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600

    def test_one_of_a_server_that_died_is_replaced(self, path: str) -> None:
        make_pipe(path)
        Path(path).chmod(0o666)
        make_pipe(path)

        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600

    def test_what_is_in_use_or_no_pipe_is_left_alone(
        self, path: str, tmp_path: Path
    ) -> None:
        make_pipe(path)
        reader = PipeReader(path)
        with pytest.raises(FileExistsError, match="another timer server"):
            make_pipe(path)
        assert is_read(path)
        reader.close()
        assert not is_read(path)
        precious = tmp_path / "precious"
        precious.write_text("data")
        with pytest.raises(FileExistsError, match="TORCHELASTIC_TIMER_FILE"):
            make_pipe(str(precious))

        assert precious.read_text() == "data"
        assert not os.path.exists(path)  # noqa: PTH110 - close removes it

    @pytest.mark.parametrize("is_file", [True, False])
    def test_it_has_no_end(self, path: str, *, is_file: bool) -> None:
        if is_file:
            make_pipe(path)
        reader = PipeReader(path if is_file else "")
        came: list[bytes] = []
        for text in (b"one\n", b"two\n"):
            with open(reader.path, "wb") as file:  # noqa: PTH123 - as clients do
                file.write(text)
            reader.drain(came.append)
        reader.drain(came.append)
        reader.close()

        assert b"".join(came) == b"one\ntwo\n"
        assert not is_read(reader.path)

    def test_a_copy_of_its_process_leaves_the_file(self, path: str) -> None:
        make_pipe(path)
        with contextlib.closing(PipeReader(path)) as reader:
            if (copy := os.fork()) == 0:
                reader.close()
                os._exit(0)
            assert os.waitpid(copy, 0)[1] == 0

            assert is_read(path)


class TestClient:
    def test_nobody_there_is_a_broken_pipe(
        self, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(file_client, "BETWEEN_TRIES", 0.001)
        with pytest.raises(BrokenPipeError, match="'timer'"):
            FileTimerClient(path).acquire("scope", 1.0)
        os.mkfifo(path)
        with pytest.raises(BrokenPipeError):
            FileTimerClient(path).release("scope")

    def test_it_waits_a_second_for_a_server_that_starts(self, path: str) -> None:
        readers: list[PipeReader] = []

        def start() -> None:
            make_pipe(path)
            readers.append(PipeReader(path))

        threading.Timer(0.1, start).start()
        FileTimerClient(path).acquire("scope", 1.0)
        (reader,) = readers
        request = parsed(reader.read().strip())
        reader.close()

        assert request == FileTimerRequest(os.getpid(), "scope", 1.0, signal.SIGKILL)

    def test_a_line_that_others_may_tear_is_refused(self, path: str) -> None:
        with pytest.raises(RuntimeError, match="too long"):
            FileTimerClient(path).acquire("x" * select.PIPE_BUF, 1.0)

    def test_lines_of_many_clients_come_whole(self, path: str) -> None:
        make_pipe(path)
        reader = PipeReader(path)
        lines, came = Lines(), []

        def ask(name: int) -> None:
            for number in range(10):
                FileTimerClient(path).acquire(f"{name}-{number}", 1.0)

        clients = [threading.Thread(target=ask, args=(n,)) for n in range(10)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        reader.drain(lambda data: came.extend(lines.feed(data)))
        reader.close()
        requests = [parsed(text) for text in came]

        assert len({r.scope_id for r in requests if r}) == len(requests) == 100


Told = list[tuple[str, FileTimerRequest | None]]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def server(path: str, told: Told) -> Iterator[FileTimerServer]:
    made = FileTimerServer(
        path, "job", max_interval=LATER, log_event=lambda *event: told.append(event)
    )
    made.start()
    yield made
    made.stop()


def run(code: str, path: str) -> "subprocess.Popen[bytes]":
    head = (
        "import signal, sys, os\n"
        "from elaunch.timer import FileTimerClient, expires\n"
        "client = FileTimerClient(sys.argv[1])\n"
    )
    return subprocess.Popen([sys.executable, "-c", head + code, path])


HANG = "with expires(after=0.1, scope='step', client=client): signal.pause()"


class TestServer:
    def test_who_holds_an_expired_timer_is_killed_and_nobody_else(
        self,
        server: FileTimerServer,
        path: str,
        told: Told,
    ) -> None:
        with run(HANG, path) as process:
            assert process.wait() == -signal.SIGKILL
        server.stop()

        assert [name for name, _ in told] == [
            "watchdog started",
            "timer expired",
            "kill worker process",
            "watchdog stopped",
        ]
        request = told[2][1]
        assert request
        assert (request.scope_id, request.signal) == ("step", signal.SIGKILL)
        assert request.worker_pid == process.pid

    def test_its_signal_is_the_clients(
        self, server: FileTimerServer, path: str
    ) -> None:
        del server
        code = HANG.replace("client=client", "client=FileTimerClient(sys.argv[1], 15)")
        with run(code, path) as process:
            assert process.wait() == -signal.SIGTERM

    def test_who_is_done_in_time_is_not_killed(
        self, server: FileTimerServer, path: str, told: Told
    ) -> None:
        with run("with expires(after=60, client=client): pass", path) as process:
            assert process.wait() == 0
        server.run_once()

        assert server._came
        assert [name for name, _ in told] == ["watchdog started"]

    def test_a_process_that_is_not_below_it_is_left_alone(
        self, server: FileTimerServer, path: str, told: Told
    ) -> None:
        client = FileTimerClient(path)
        client.acquire("own", 1.0)  # of the server's own process
        server.run_once()

        assert [name for name, _ in told] == ["watchdog started"]

    @pytest.mark.usefixtures("server")
    def test_nonsense_does_not_end_it(self, path: str) -> None:
        with open(path, "wb") as file:  # noqa: PTH123 - as clients do
            file.write(b"nonsense\n\xff\n" + b"x" * 10_000 + b"\n{}\n")
            file.write(b"[" * 4000 + b"\n")
        with run(HANG, path) as process:
            assert process.wait() == -signal.SIGKILL

    def test_its_thread_ends_also_if_nobody_came(self, path: str, told: Told) -> None:
        before = threading.active_count()
        for _ in range(3):
            server = FileTimerServer(
                path, "job", max_interval=LATER, log_event=lambda *e: told.append(e)
            )
            server.start()
            server.stop()
            server.stop()

        assert threading.active_count() == before
        assert not os.path.exists(path)  # noqa: PTH110 - it must be gone
        assert [name for name, _ in told] == [
            "watchdog started",
            "watchdog stopped",
        ] * 3

    def test_progress_is_now_until_a_client_has_come(
        self, server: FileTimerServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server, "_last_progress", 12.7)
        assert server.get_last_progress_time() >= int(time.time()) - 1

        monkeypatch.setattr(server, "_came", True)
        assert server.get_last_progress_time() == 12

    def test_running_processes_are_known(self) -> None:
        assert FileTimerServer.is_process_running(os.getpid())
        assert not FileTimerServer.is_process_running(1 << 22)


def test_expires_works_with_it(server: FileTimerServer, path: str) -> None:
    with expires(after=60, client=FileTimerClient(path)):
        pass
    server.run_once()

    assert server._book.next_deadline() is None
