"""The door into a worker."""

import http.client
import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from elaunch import control_plane
from elaunch.control_plane import (
    Request,
    Response,
    WorkerServer,
    get_handler,
    handlers,
    register_handler,
    wait_counter,
    waits,
    worker_main,
)
from elaunch.worker.error_file import ERROR_FILE


class Connection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: str) -> None:
        super().__init__("worker", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self._path)


def ask(path: str, method: str, address: str, body: bytes = b"") -> tuple[int, str]:
    connection = Connection(path)
    connection.request(method, address, body)
    answer = connection.getresponse()
    said = answer.read().decode()
    connection.close()
    return answer.status, said


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "_handlers", dict(handlers._handlers))
    monkeypatch.setattr(waits, "_counters", {})
    monkeypatch.delenv("TORCH_WORKER_SERVER_SOCKET", raising=False)
    monkeypatch.delenv("ELAUNCH_WORKER_SERVER_SOCKET", raising=False)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "worker.sock")


@pytest.fixture
def server(path: str) -> Iterator[WorkerServer]:
    made = WorkerServer(path)
    yield made
    made.shutdown()


pytestmark = pytest.mark.usefixtures("_clean")


@pytest.mark.usefixtures("server")
class TestServer:
    def test_it_shows_what_it_can_be_asked(self, path: str) -> None:
        status, page = ask(path, "GET", "/")
        assert status == 200
        assert "<li>/handler/dump_traceback</li>" in page

        status, names = ask(path, "GET", "/handler/")
        assert status == 200
        assert json.loads(names) == ["dump_traceback", "ping", "wait_counter_values"]

    def test_ping_is_answered(self, path: str) -> None:
        assert ask(path, "POST", "/handler/ping") == (200, "pong")

    def test_tracebacks_are_of_all_threads(self, path: str) -> None:
        done = threading.Event()

        def wait_in_a_thread() -> None:
            done.wait()

        thread = threading.Thread(target=wait_in_a_thread)
        thread.start()
        status, said = ask(path, "POST", "/handler/dump_traceback")
        done.set()
        thread.join()

        assert status == 200
        assert "in wait_in_a_thread" in said
        assert "in test_tracebacks_are_of_all_threads" in said

    def test_wait_counters_are_told(self, path: str) -> None:
        with pytest.raises(KeyError), wait_counter("batch"):
            raise KeyError("x")
        with wait_counter("batch"):
            status, said = ask(path, "POST", "/handler/wait_counter_values")
        counter = json.loads(said)["batch"]

        assert status == 200
        assert (counter["active_count"], counter["total_calls"]) == (1, 2)
        assert 0 <= counter["max_time_us"] <= counter["total_time_us"]

    def test_ones_own_handler_gets_parameters_and_body(self, path: str) -> None:
        def echo(request: Request, response: Response) -> None:
            said = f"{request.get_param('a')}|{request.get_param('no')}|"
            response.set_content(said.encode() + request.body, "text/x-echo")
            response.set_status(202)

        register_handler("echo.it", echo)

        assert ask(path, "POST", "/handler/echo.it?a=1%202&b=3", b"body") == (
            202,
            "1 2||body",
        )

    def test_a_handler_that_raises_is_told_and_the_server_goes_on(
        self, path: str
    ) -> None:
        def broken(_: Request, __: Response) -> None:
            raise LookupError("not here")

        control_plane._register_handler("broken", broken)
        status, said = ask(path, "POST", "/handler/broken")

        assert status == 500
        assert said.endswith("LookupError: not here\n")
        assert ask(path, "POST", "/handler/ping") == (200, "pong")

    def test_what_is_not_there_is_404(self, path: str) -> None:
        assert ask(path, "GET", "/handler/ping")[0] == 404
        status, said = ask(path, "POST", "/handler/pong")
        assert status == 404
        assert "'pong'" in said
        assert "'ping'" in said

    def test_a_body_that_is_too_long_is_refused(self, path: str) -> None:
        connection = Connection(path)
        connection.putrequest("POST", "/handler/ping")
        connection.putheader("Content-Length", str(1 << 30))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()

    @pytest.mark.parametrize("length", ["-1", "x", "1e3"])
    def test_a_body_of_no_length_is_refused(self, path: str, length: str) -> None:
        connection = Connection(path)
        connection.putrequest("POST", "/handler/ping")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()

    def test_only_its_user_can_open_it(self, path: str) -> None:
        assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
        assert os.listdir(Path(path).parent) == ["worker.sock"]  # noqa: PTH208 - names

    def test_a_socket_in_use_is_left_alone(self, path: str) -> None:
        with pytest.raises(FileExistsError, match="TORCH_WORKER_SERVER_SOCKET"):
            WorkerServer(path)

        assert ask(path, "POST", "/handler/ping") == (200, "pong")


def test_a_socket_of_a_dead_worker_is_replaced(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    server = WorkerServer(path)
    assert ask(path, "POST", "/handler/ping") == (200, "pong")
    server.shutdown()
    server.shutdown()

    assert not Path(path).exists()


def test_a_worker_that_is_too_busy_to_answer_keeps_its_socket(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as asks:
        busy.bind(path)
        busy.listen(0)
        asks.connect(path)  # and there is no room for another
        with pytest.raises(FileExistsError, match="TORCH_WORKER_SERVER_SOCKET"):
            WorkerServer(path)

        assert os.listdir(Path(path).parent) == ["worker.sock"]  # noqa: PTH208 - names


def test_of_two_that_open_one_door_at_once_one_does(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[WorkerServer] = []
    there = Path.hardlink_to

    def another_first(self: Path, target: Path) -> None:
        monkeypatch.setattr(Path, "hardlink_to", there)
        made.append(WorkerServer(f"{path}.other"))
        Path(f"{path}.other").rename(path)
        there(self, target)

    monkeypatch.setattr(Path, "hardlink_to", another_first)
    with pytest.raises(FileExistsError):
        WorkerServer(path)

    assert ask(path, "POST", "/handler/ping") == (200, "pong")
    made[0].shutdown()


def test_another_file_is_left_alone(path: str) -> None:
    Path(path).write_text("precious")
    with pytest.raises(FileExistsError):
        WorkerServer(path)

    assert Path(path).read_text() == "precious"


def test_handlers_can_be_found_and_called_without_a_server() -> None:
    response = Response()
    get_handler("ping")(Request(), response)

    assert response.content == b"pong"
    assert control_plane._get_handlers() == control_plane.get_handler_names()
    with pytest.raises(ValueError, match="no handler 'pong'"):
        control_plane._get_handler("pong")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ping"])
def test_names_that_can_not_be_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="handler"):
        register_handler(name, lambda _, __: None)


@pytest.mark.parametrize(
    "variable", ["TORCH_WORKER_SERVER_SOCKET", "ELAUNCH_WORKER_SERVER_SOCKET"]
)
def test_the_door_is_open_while_the_function_runs(
    path: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, path)

    @worker_main()
    def main(number: int) -> tuple[int, tuple[int, str]]:
        return number, ask(path, "POST", "/handler/ping")

    for number in (1, 2):
        assert main(number) == (number, (200, "pong"))
        assert not Path(path).exists()


def test_without_a_variable_nothing_is_opened() -> None:
    before = threading.active_count()
    with worker_main():
        assert threading.active_count() == before


@pytest.fixture
def error_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "error.json"
    monkeypatch.setenv(ERROR_FILE, str(file))
    return file


def fail() -> None:
    raise ValueError("boom")


def test_an_error_in_the_function_is_left_for_the_launcher(error_file: Path) -> None:
    with pytest.raises(ValueError, match="boom"):
        worker_main()(fail)()
    left = json.loads(error_file.read_text())["message"]
    stack = left["extraInfo"]["py_callstack"]

    assert left["message"] == "ValueError: boom"
    assert stack.splitlines()[1].endswith(", in fail")
    assert "contextlib" not in stack


def test_an_error_in_the_block_is_too(error_file: Path) -> None:
    with pytest.raises(ValueError, match="boom"), worker_main():
        fail()
    left = json.loads(error_file.read_text())["message"]

    assert left["message"] == "ValueError: boom"
    assert "control_plane/main.py" not in left["extraInfo"]["py_callstack"]


def test_a_door_that_can_not_be_opened_is_an_error_of_the_worker(
    error_file: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(path).write_text("in the way")
    monkeypatch.setenv("TORCH_WORKER_SERVER_SOCKET", path)
    with pytest.raises(FileExistsError):
        worker_main()(fail)()

    assert "FileExistsError" in error_file.read_text()


def test_an_exit_is_no_error(error_file: Path) -> None:
    with pytest.raises(SystemExit), worker_main():
        raise SystemExit(3)

    assert not error_file.exists()
