"""The names of torchelastic do here what they do there, with real jobs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lone_rendezvous import Alone

from elaunch import LaunchConfig, elastic_launch, is_torchelastic_launched
from elaunch.blocking.registry import rendezvous_handler_registry
from elaunch.elastic.agent.server import (
    LocalElasticAgent,
    RunResult,
    WorkerSpec,
    WorkerState,
)
from elaunch.elastic.multiprocessing import (
    DefaultLogsSpecs,
    LogsDest,
    LogsSpecs,
    Std,
    to_map,
)
from elaunch.elastic.multiprocessing.redirects import (
    redirect,
    redirect_stderr,
    redirect_stdout,
)
from elaunch.elastic.rendezvous import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousError,
    RendezvousGracefulExitError,
    RendezvousParameters,
    RendezvousStateError,
    RendezvousStoreInfo,
    RendezvousTimeoutError,
)
from elaunch.elastic.rendezvous.registry import get_rendezvous_handler
from elaunch.elastic.rendezvous.utils import parse_rendezvous_endpoint
from elaunch.elastic.utils.distributed import create_c10d_store
from elaunch.errors import PluginError, UsageError


def place(factor: int) -> list[str]:
    names = ("RANK", "ROLE_NAME", "MASTER_ADDR", "TORCHELASTIC_USE_AGENT_STORE")
    return [os.environ[name] for name in names] * factor


def fail() -> None:
    raise ValueError("as planned")


def spec(handler: Any, entrypoint: Any = place, **more: Any) -> WorkerSpec:
    given = {"role": "trainer", "local_world_size": 2, "local_addr": "127.0.0.1"}
    return WorkerSpec(
        rdzv_handler=handler, entrypoint=entrypoint, **{**given, "args": (1,), **more}
    )


def test_an_agent_runs_a_spec_with_the_handler_of_the_program() -> None:
    handler = Alone()
    result = LocalElasticAgent(spec(handler)).run()

    assert result == RunResult(
        WorkerState.SUCCEEDED,
        {r: [str(r), "trainer", "127.0.0.1", "True"] for r in (0, 1)},
    )
    assert not result.is_failed()
    assert handler.calls == ["next_rendezvous"]  # its end is the program's business


def test_the_job_of_an_agent_has_the_id_of_its_handler() -> None:
    given = spec(Alone(), os.getenv, args=("TORCHELASTIC_RUN_ID",), local_world_size=1)

    assert LocalElasticAgent(given).run().return_values == {0: Alone().get_run_id()}


def test_an_agent_tells_of_workers_that_failed() -> None:
    handler = Alone()
    given = spec(handler, fail, args=(), max_restarts=1, local_world_size=1)
    result = LocalElasticAgent(given, DefaultLogsSpecs(os.devnull)).run()

    assert result.is_failed()
    assert result.state is WorkerState.FAILED
    assert result.failures[0].message == "ValueError: as planned"
    assert handler.calls == ["next_rendezvous"] * 2


def test_a_spec_may_say_where_the_workers_store_is() -> None:
    given = spec(Alone(), master_addr="10.1.2.3", master_port=4, local_world_size=1)
    result = LocalElasticAgent(given).run()

    assert result.return_values[0] == ["0", "trainer", "10.1.2.3", "False"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"local_world_size": 0}, "local_world_size must be at least 1, not 0"),
        ({"monitor_interval": 0}, "monitor_interval must be greater than 0, not 0"),
        ({"entrypoint": None}, "has one entrypoint"),
        ({"fn": place}, "has one entrypoint"),
        ({"master_port": 1}, "master_addr None and master_port 1 go together"),
    ],
)
def test_a_spec_that_cant_be_run_is_refused(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        spec(Alone(), **wrong)


def test_a_spec_names_its_entrypoint_as_events_do() -> None:
    assert spec(Alone()).get_entrypoint_name() == "place"
    assert spec(Alone(), None, fn=fail).get_entrypoint_name() == "fail"
    assert spec(Alone(), "/usr/bin/env").get_entrypoint_name() == "env"


def test_a_worker_knows_that_it_was_launched() -> None:
    assert not is_torchelastic_launched()
    assert elastic_launch(LaunchConfig(1, 1, 1), is_torchelastic_launched)() == {
        0: True
    }


def test_states_tell_whether_workers_are_alive() -> None:
    running = {state for state in WorkerState if WorkerState.is_running(state)}

    assert running == {WorkerState.HEALTHY, WorkerState.UNHEALTHY}


def print_rank() -> None:
    sys.stdout.write(f"out {os.environ['RANK']}\n")
    sys.stderr.write(f"err {os.environ['RANK']}\n")


def test_default_logs_specs_choose_torchelastics_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    specs = DefaultLogsSpecs(
        str(tmp_path / "logs"),
        redirects={0: Std.ERR},
        tee={1: Std.OUT},
        local_ranks_filter={0, 1},
    )
    config = LaunchConfig(1, 1, 3, specs, "job", log_line_prefix_template="")
    elastic_launch(config, print_rank)()

    (run,) = Path(specs.root_log_dir).iterdir()
    assert run.name.startswith("job_")
    files = {str(f.relative_to(run)): f.read_text() for f in run.rglob("*.log")}
    assert files == {
        "attempt_0/0/stderr.log": "err 0\n",
        "attempt_0/1/stdout.log": "out 1\n",
    }
    shown = capfd.readouterr()
    assert sorted(shown.out.splitlines()) == ["out 0", "out 1"]
    assert shown.err == "err 1\n"


def test_default_logs_specs_erase_nothing(tmp_path: Path) -> None:
    specs = DefaultLogsSpecs(str(tmp_path))
    env = {"TORCHELASTIC_RUN_ID": "job", "TORCHELASTIC_RESTART_COUNT": "1"}
    chosen = [specs.reify({0: env}) for _ in range(3)]

    folders = [Path(one.error_files[0]).parents[1].name for one in chosen]
    assert folders == ["attempt_1", "attempt_1.1", "attempt_1.2"]
    assert specs == DefaultLogsSpecs(str(tmp_path))
    assert specs != DefaultLogsSpecs(str(tmp_path), tee=Std.OUT)
    assert repr(str(tmp_path)) in repr(specs)


def test_default_logs_specs_need_a_directory_or_none_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        DefaultLogsSpecs(str(tmp_path / "file"))
    none = DefaultLogsSpecs(os.devnull, tee=Std.ALL).reify({0: {}})
    assert none == LogsDest(stdouts={0: ""}, stderrs={0: ""}, error_files={0: ""})
    made = DefaultLogsSpecs()
    assert Path(made.root_log_dir).name.startswith("torchelastic_")
    Path(made.root_log_dir).rmdir()


class Broken(LogsSpecs):
    """Specs of a user, which choose nothing."""

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        raise KeyError(sorted(envs))

    @property
    def root_log_dir(self) -> str:
        return ""


def test_specs_of_a_user_that_raise_are_told() -> None:
    launch = elastic_launch(LaunchConfig(1, 1, 1, Broken()), print_rank)
    with pytest.raises(Exception, match=r"'Broken' failed to choose files: KeyError"):
        launch()


def test_streams_become_a_map() -> None:
    assert to_map(Std.OUT, 2) == {0: Std.OUT, 1: Std.OUT}
    assert to_map({1: Std.ALL}, 3) == {0: Std.NONE, 1: Std.ALL, 2: Std.NONE}


def run_python(code: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_plain_run_imports_nothing_of_this() -> None:
    code = (
        "import sys; from elaunch.cli import main; sys.argv[1:] = ['run', '--no-python'"
        ", '--bootstrap', 'none', '/bin/true']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "print([n for n in sys.modules if n.startswith(('elaunch.elastic', "
        "'elaunch.blocking'))])"
    )
    ended = run_python(code)

    assert ended.stdout.strip() == "[]", ended.stderr


def test_streams_are_redirected_whoever_writes(tmp_path: Path) -> None:
    code = (
        "import ctypes, os, subprocess, sys\n"
        "from elaunch.elastic.multiprocessing.redirects import *\n"
        "with redirect_stdout('out'), redirect_stderr('err'):\n"
        "    print('python'); os.write(2, b'bytes\\n')\n"
        "    ctypes.CDLL(None).puts(b'c')\n"
        "    subprocess.run(['/bin/echo', 'child'])\n"
        "print('after')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert ended.stdout == "after\n"
    assert ended.stderr == ""
    said = (tmp_path / "out").read_text().splitlines()
    assert sorted(said) == ["c", "child", "python"]
    assert (tmp_path / "err").read_text() == "bytes\n"
    with pytest.raises(UsageError, match="not 'stdin'"), redirect("stdin", "x"):
        raise AssertionError("it must not get here")
    assert redirect_stdout is not redirect_stderr


def test_half_a_million_lines_are_redirected_whole(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from elaunch.elastic.multiprocessing.redirects import *\n"
        "with redirect_stdout('out'), redirect_stderr('err'):\n"
        "    for number in range(500_000):\n"
        "        print(number)\n"
        "        print(-number, file=sys.stderr)\n"
        "print('after')\n"
    )
    said = subprocess.check_output(
        [sys.executable, "-c", code], cwd=tmp_path, text=True, timeout=50
    )

    assert said == "after\n"
    for name, sign in (("out", 1), ("err", -1)):
        lines = (tmp_path / name).read_text().splitlines()
        assert lines == [str(sign * number) for number in range(500_000)]


def test_errors_of_a_rendezvous_have_their_names() -> None:
    for kind in (
        RendezvousClosedError,
        RendezvousConnectionError,
        RendezvousGracefulExitError,
        RendezvousStateError,
        RendezvousTimeoutError,
    ):
        assert issubclass(kind, RendezvousError)


def test_parameters_of_a_rendezvous_convert_their_options() -> None:
    params = RendezvousParameters(
        "b", "e", "r", 1, 2, None, yes="True", no=0, number=" 7 ", word="x"
    )

    assert params.get("word") == "x"
    assert params.get("none", 3) == 3
    assert params.get_as_bool("yes") is True
    assert params.get_as_bool("no") is False
    assert params.get_as_bool("none") is None
    assert params.get_as_bool("none", default=True) is True
    assert params.get_as_int("number") == 7
    assert params.get_as_int("none") is None
    for get in (params.get_as_bool, params.get_as_int):
        with pytest.raises(ValueError, match="'word' is"):
            get("word")
    for wrong in (("", 1, 1), ("b", 0, 1), ("b", 2, 1)):
        with pytest.raises(ValueError, match="a rendezvous"):
            RendezvousParameters(wrong[0], "", "r", *wrong[1:])


@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [
        (None, "localhost", -1),
        ("  ", "localhost", -1),
        ("h", "h", -1),
        (" h.org:9 ", "h.org", 9),
        ("[::1]:5", "::1", 5),
        ("[::1]", "::1", -1),
        ("::1:65535", "::1", 65_535),
    ],
)
def test_an_endpoint_has_a_host_and_a_port(
    endpoint: str | None, host: str, port: int
) -> None:
    assert parse_rendezvous_endpoint(endpoint, -1) == (host, port)


@pytest.mark.parametrize(
    "endpoint", ["h:", "h:a", "h:65536", "h:000001", "h!:1", ":5", "[]", "h:\u0661"]
)
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(UsageError, match=r"of the endpoint .* is"):
        parse_rendezvous_endpoint(endpoint, 1)


def test_nodes_agree_where_the_workers_store_is() -> None:
    with create_c10d_store(is_server=True, server_addr="127.0.0.1") as store:
        first = RendezvousStoreInfo.build(0, store, "10.1.2.3", 77)
        assert first == RendezvousStoreInfo.build(1, store, None)
        assert (first.master_addr, first.master_port) == ("10.1.2.3", 77)
        assert RendezvousStoreInfo.build(0, store, None).master_port > 0


def test_a_handler_is_built_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = Alone()
    creators = rendezvous_handler_registry._creators
    monkeypatch.setitem(creators, "alone", lambda _: handler)
    monkeypatch.setitem(creators, "liar", lambda _: handler)

    def built(name: str) -> Any:
        return get_rendezvous_handler(RendezvousParameters(name, "", "r", 1, 1))

    assert built("alone") is handler
    with pytest.raises(PluginError, match="'liar' calls itself 'alone'"):
        built("liar")
    with pytest.raises(ValueError, match="no rendezvous backend is named 'nothing'"):
        built("nothing")


def test_an_agent_runs_a_spec_with_a_backend_of_elaunch() -> None:
    params = RendezvousParameters("c10d", "localhost:0", "r", 1, 1, last_call_timeout=0)
    handler = get_rendezvous_handler(params)
    given = spec(handler, os.getenv, args=("TORCHELASTIC_RUN_ID",))
    result = LocalElasticAgent(given).run()

    assert result.return_values == {0: "r", 1: "r"}
    assert handler.shutdown()
    assert (handler.get_backend(), handler.get_run_id()) == ("c10d", "r")
    for call in ("next_rendezvous", "is_closed", "set_closed", "num_nodes_waiting"):
        with pytest.raises(UsageError, match="'c10d' is elaunch's own and does not"):
            getattr(handler, call)()
