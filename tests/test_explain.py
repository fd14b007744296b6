"""The plan of a run: what would happen is told, and nothing happens."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

from elaunch.api import (
    EventRecorder,
    EventRecorderProvider,
    Provider,
    RecorderParameters,
)
from elaunch.cli.explain import Setting, all_settings, as_json, as_text
from elaunch.cli.settings import resolve
from elaunch.config import LaunchConfig
from elaunch.environ import BY_BOOTSTRAP, OF_BOOTSTRAP
from elaunch.errors import UnknownBackend, UsageError
from elaunch.hookspecs import hookimpl
from elaunch.launcher.outcomes import outcomes
from elaunch.launcher.plan import Plan, plan
from elaunch.membership.options import RendezvousOptions
from elaunch.plugins import Plugin, Plugins, Status, load_plugins
from elaunch.plugins.loader import declared
from elaunch.workers import CommandEntry, FunctionEntry, ScriptEntry


SCRIPT = ScriptEntry("train.py", ("--seed", "{rank}"), name="train.py")
FIXED: Mapping[str, Any] = {
    "min_nodes": 4,
    "max_nodes": 4,
    "nproc_per_node": 2,
    "run_id": "job",
    "rdzv_endpoint": "gpu011:27301",
}
ELASTIC: Mapping[str, Any] = {**FIXED, "min_nodes": 1}
ALONE: Mapping[str, Any] = {"min_nodes": 1, "max_nodes": 1, "nproc_per_node": 1}


@pytest.fixture(autouse=True)
def no_scheduler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nobody but the test says anything, and what is written would be seen."""
    for name in ("PYTHONUNBUFFERED", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


def planned(given: Mapping[str, Any], **more: Any) -> Plan:
    return plan(LaunchConfig(**{**given, **more}), SCRIPT)


def test_a_node_that_knows_its_number_knows_its_ranks() -> None:
    found = planned(FIXED, node_rank=2)

    assert found.ranks.first == (4, 4)
    assert [list(worker.argv[-2:]) for worker in found.workers] == [
        ["--seed", "4"],
        ["--seed", "5"],
    ]
    assert [w.environment["RANK"] for w in found.workers] == ["4", "5"]
    assert found.workers[0].environment["WORLD_SIZE"] == "8"


def test_of_what_is_not_known_yet_there_is_the_range() -> None:
    found = planned(ELASTIC)

    assert found.ranks.workers == (2, 8)
    assert found.ranks.node is None
    assert list(found.workers[1].argv[-2:]) == ["--seed", "{rank}"]
    assert found.workers[1].environment["RANK"] == "<1 to 7>"
    assert found.workers[1].environment["LOCAL_RANK"] == "1"
    assert found.workers[1].environment["WORLD_SIZE"] == "<2 to 8>"


def test_the_number_of_a_node_may_be_the_schedulers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "3")
    found = planned(FIXED)

    assert found.ranks.node == 3
    assert found.ranks.source == "Kubernetes: JOB_COMPLETION_INDEX"


def test_secrets_are_not_shown() -> None:
    settings = [Setting("--env", "HF_TOKEN=<hidden>", "--env")]
    found = planned(ALONE, env={"HF_TOKEN": "hush", "NOTE": "{rank} hush"})
    for shown in (
        as_text(found, settings, [], everything=True),
        as_json(found, settings, []),
    ):
        assert "HF_TOKEN" in shown
        assert "hush" not in shown


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("--rdzv-conf password=hush,username=me", "password=<hidden>,username=me"),
        ("--monitor site:a=1,api_token=hush", "site:a=1,api_token=<hidden>"),
        ("--metrics site:secret=hush", "site:secret=<hidden>"),
        ("--env TOKEN=hush", "TOKEN=<hidden>"),
        ("--rdzv-conf token_file=t,timeout=60", "token_file=t,timeout=60"),
        ("--rdzv-endpoint gpu011:29400", "gpu011:29400"),
    ],
)
def test_a_setting_is_told_without_its_secrets(words: str, shown: str) -> None:
    flag = words.split(maxsplit=1)[0]
    told = {s.name: s.value for s in all_settings(resolve([*words.split(), "x"], {}))}

    assert told[flag] == shown


@attrs.frozen
class SiteOptions:
    """Options of a recorder that somebody else wrote."""

    token: str = ""
    token_file: str = ""


def never_built(_: RecorderParameters, __: SiteOptions) -> EventRecorder:
    raise AssertionError("a recorder may open files: a plan builds none")


def test_options_that_are_secrets_are_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @hookimpl
    def elaunch_register_event_recorders() -> list[EventRecorderProvider]:
        return [Provider("site", "ours", never_built, SiteOptions)]

    module = ModuleType("site")
    vars(module)["elaunch_register_event_recorders"] = elaunch_register_event_recorders
    point = next(iter(load_plugins().loaded)).point
    site = Plugin(
        name="site",
        point=point,
        status=Status.OK,
        providers=declared("site", module),
    )
    plugins = Plugins((*load_plugins().loaded, site))
    monkeypatch.setattr("elaunch.launcher.plan.load_plugins", lambda _: plugins)
    found = planned(ALONE, event_recorders=("site:token=hush,token_file=t",))

    assert found.backends[-1].options == {"token": "<hidden>", "token_file": "t"}


@pytest.mark.parametrize(
    ("given", "rank"), [(FIXED, "4"), (ELASTIC, "<0 to 4>"), (ALONE, "0")]
)
def test_a_number_of_a_node_holds_while_there_are_that_many(
    given: Mapping[str, Any], rank: str
) -> None:
    number = 0 if given is ALONE else 2
    found = planned(given, node_rank=number)

    assert found.workers[0].environment["RANK"] == rank


@pytest.mark.parametrize("name", ["PYTHONUNBUFFERED", "PYTHONFAULTHANDLER"])
def test_a_switch_that_the_user_has_set_is_inherited(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(name, raising=False)
    assert planned(ALONE).workers[0].environment[name] == "1"
    monkeypatch.setenv(name, "0")
    assert name not in planned(ALONE).workers[0].environment


def test_a_random_id_and_files_that_are_not_there_yet_are_told_as_such() -> None:
    found = planned(ALONE)

    assert found.workers[0].environment["ELAUNCH_RUN_ID"] == "<random>"
    assert found.failure_report == "<a new temporary directory>"
    assert found.logs == ""


def test_where_output_goes_is_told() -> None:
    found = planned(FIXED, log_dir="logs", redirects="0:3", node_rank=0)

    assert found.logs == "logs/job"
    assert found.failure_report == "logs/job/failure.json"
    assert found.workers[0].stdout == ("file",)
    assert found.workers[1].stderr == ("console",)
    text = as_text(found, [], [], everything=False)
    assert "\n  they meet at gpu011:27301, as job job\n" in text
    assert "  stdout of local rank 0: file\n  stdout of local rank 1: console" in text


def test_backends_are_told_with_where_they_are_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCHELASTIC_ENABLE_FILE_TIMER", "1")
    found = planned(
        ALONE,
        bootstrap="none",
        event_recorders=("jsonl:path=events.jsonl",),
        metrics_cfg={"handler": "console"},
        monitors=("process",),
    )
    told = {(b.kind, b.name, b.distribution) for b in found.backends}

    assert told == {
        ("rendezvous", "c10d", "elaunch-rdzv-c10d"),
        ("bootstrap", "none", "elaunch"),
        ("restart policy", "default", "elaunch"),
        ("spawner", "local", "elaunch-spawn-local"),
        ("log layout", "default", "elaunch-spawn-local"),
        ("monitor", "process", "elaunch-spawn-local"),
        ("monitor", "timer", "elaunch"),
        ("monitor", "sections", "elaunch"),
        ("event recorder", "jsonl", "elaunch-events-log"),
        ("metric handler", "console", "elaunch"),
    }
    assert "MASTER_ADDR" not in found.workers[0].environment


@pytest.mark.parametrize("bootstrap", ["auto", "c10d", "port", "jax", "none"])
def test_each_bootstrap_is_told_with_its_own_variables(bootstrap: str) -> None:
    found = planned(ALONE, bootstrap=bootstrap).workers[0].environment
    own = OF_BOOTSTRAP["c10d" if bootstrap == "auto" else bootstrap]

    assert found.keys() & BY_BOOTSTRAP.keys() == own.keys()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"spawner": "lokal"}, UnknownBackend, "lokal"),
        ({"event_recorders": ("jsonl:pth=x",)}, UsageError, "no option 'pth'"),
        ({"metrics_cfg": {"handler": "consol"}}, UnknownBackend, "consol"),
        ({"rdzv_configs": {"join_timout": "5"}}, UsageError, "no option 'join_timout'"),
        ({"rdzv_configs": {"join_timeout": "-5"}}, UsageError, "greater than 0"),
        ({"rdzv_configs": {"node_unit": "3"}}, UsageError, "units of 3"),
        ({"rdzv_backend": "static"}, UsageError, "node-rank"),
        ({"rdzv_endpoint": "a:b:c:d"}, UsageError, "endpoint"),
        ({"run_id": "a/b"}, UsageError, "run id"),
        ({"control": "127.0.0.1:9400"}, UsageError, "must show a token"),
    ],
)
def test_what_a_run_refuses_at_once_the_plan_refuses(
    changes: Mapping[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        planned(FIXED, **changes)


def test_a_function_has_no_plan() -> None:
    with pytest.raises(UsageError, match="no plan"):
        plan(LaunchConfig(**ALONE), FunctionEntry(print, (), name="print"))


def test_the_text_fits_on_80_columns() -> None:
    settings = [
        Setting("--nnodes", "4", "Slurm: SLURM_STEP_NUM_NODES"),
        Setting("--rdzv-endpoint", "gpu011:27301", "Slurm: " + "a long rule " * 9),
        Setting("--log-dir", "d" * 30 + " " + "e" * 30, "default", default=True),
    ]
    text = as_text(planned(ELASTIC), settings, ["a note " * 20], everything=True)

    assert max(map(len, text.splitlines())) < 80
    assert "--log-dir" in text
    assert "--log-dir" not in as_text(planned(ELASTIC), settings, [], everything=False)


def test_tools_get_all_of_it() -> None:
    settings = [Setting("--nnodes", "4", "--nnodes")]
    found = json.loads(as_json(planned(FIXED, node_rank=1), settings, ["a note"]))

    assert found["settings"] == [
        {"name": "--nnodes", "value": "4", "source": "--nnodes"}
    ]
    assert found["notes"] == ["a note"]
    assert found["ranks"]["first"] == [2, 2]
    assert found["workers"][1]["environment"]["RANK"] == "3"
    assert {o["when"] for o in found["outcomes"]} >= {"a worker fails", "a node dies"}


def test_a_program_is_shown_as_it_runs() -> None:
    found = plan(
        LaunchConfig(**ALONE), CommandEntry(("echo", "{rank} of {world_size}"), "echo")
    )

    assert found.workers[0].argv == ("echo", "0 of 1")
    assert "the worker: echo '0 of 1'" in as_text(found, [], [], everything=False)


@pytest.mark.parametrize(
    ("given", "options", "when", "then"),
    [
        (ALONE, {}, "a worker fails", "3 times at most"),
        (
            {**ALONE, "preflights": ("disk",)},
            {"timeout": 60.0},
            "a check of this node fails",
            "comes in when it passes. If too few nodes are fit for 60 s, the job ends",
        ),
        (
            {**FIXED, "preflights": ("disk",)},
            {},
            "a check of this node fails",
            "The others go on with a spare, or wait for it",
        ),
        (
            {**ELASTIC, "preflights": ("disk",)},
            {},
            "a check of this node fails",
            "The others go on without it if they are 1 at least",
        ),
        ({**ALONE, "max_restarts": 1}, {}, "a worker fails", "1 time at most"),
        ({**ALONE, "max_restarts": 0}, {}, "a worker fails", "No restart is allowed"),
        (
            {**ALONE, "stop_signal": "SIGINT", "shutdown_timeout": 5.0},
            {},
            "a worker fails",
            "All workers of this node get SIGINT, and SIGKILL 5 s later",
        ),
        ({**ALONE, "dump_stacks": 2.0}, {}, "a worker fails", "(--dump-stacks 2)"),
        (
            {**ALONE, "restart_policy": "mine", "max_restarts": 2},
            {},
            "a worker fails",
            "policy 'mine' decides, with a budget of 2 restarts",
        ),
        (ALONE, {}, "a node dies", "the whole job"),
        (FIXED, {}, "a node dies", "when they are 4 nodes again"),
        (FIXED, {}, "a node dies", "0.5 s after its connections break, and after 20 s"),
        (FIXED, {"timeout": 60.0}, "a node dies", "within 60 s, the job ends (exit 6)"),
        (FIXED, {"population": 5}, "a node dies", "too few of the 5 nodes are left"),
        (ELASTIC, {}, "a node dies", "if these are 1 at least"),
        (
            {**FIXED, "rdzv_backend": "etcd"},
            {"lease_ttl": 10.0},
            "a node dies",
            "The others see it 10 s after it fell silent",
        ),
        (ALONE, {}, "a worker hangs", "Nobody sees that it is silent"),
        (
            {**ALONE, "monitors": ("heartbeat:limit=60", "output:silence=900")},
            {},
            "a worker hangs",
            (
                "says nothing for 60 s (1800 s at its start). The monitor 'output' "
                "finds one that writes nothing for 900 s. A section"
            ),
        ),
        (
            {**ALONE, "monitors": ("heartbeat:startup=0,severity=degraded",)},
            {},
            "a worker hangs",
            "longer than is usual (not at its start); it is told as degraded",
        ),
        (
            {**ALONE, "monitors": ("output:pattern=x,every=9",)},
            {},
            "a worker hangs",
            "Nobody sees that it is silent",
        ),
        (ALONE, {}, "a node joins", "None can"),
        (FIXED, {}, "a node joins", "takes the rank of a node that is lost"),
        (ELASTIC, {}, "a node joins", "fewer than 4 nodes all workers are stopped"),
        (ELASTIC, {"node_unit": 2}, "a node joins", "units of 2"),
        (ALONE, {}, "the host of the store dies", "for itself"),
        (FIXED, {}, "the host of the store dies", "has the address of 'gpu011'"),
        (
            {**FIXED, "rdzv_backend": "etcd"},
            {"lease_ttl": 10.0},
            "the host of the store dies",
            "While etcd does not answer workers go on for up to 8 s",
        ),
        (
            {**FIXED, "rdzv_backend": "file", "rdzv_endpoint": "./meet"},
            {},
            "the host of the store dies",
            "the directory './meet'",
        ),
        (
            {**FIXED, "rdzv_backend": "mine"},
            {},
            "the host of the store dies",
            "depends on the rendezvous backend 'mine'",
        ),
        (ALONE, {}, "the workers of this node are done", "exits with 0"),
        (FIXED, {}, "the workers of this node are done", "waits for the other nodes"),
        (
            {**FIXED, "exit_barrier_timeout": 5.0},
            {},
            "the workers of this node are done",
            "waits 5 s for the other nodes (--exit-barrier-timeout)",
        ),
        (FIXED, {}, "this agent gets SIGTERM", "It exits with 75."),
        (
            {**FIXED, "signals_to_handle": "SIGINT"},
            {},
            "this agent gets SIGTERM",
            "It is not handled",
        ),
        (ALONE, {}, "this agent gets Ctrl-C", "It exits with 130."),
        (
            {**ALONE, "signals_to_handle": "SIGTERM"},
            {},
            "this agent gets Ctrl-C",
            "It is not handled",
        ),
        (FIXED, {}, "a preemption is announced", "SIGUSR1 to the agent"),
        (FIXED, {}, "'elaunch drain' names this node", "and it exits with 0."),
        (ALONE, {}, "'elaunch drain' names this node", "It stays: no other node"),
        (
            *({**FIXED, "control": "none"}, {}, "'elaunch drain' names this node"),
            "No command reaches it",
        ),
        (
            {**FIXED, "notice_signal": "none"},
            {},
            "a preemption is announced",
            "No signal announces one",
        ),
    ],
)
def test_what_happens_is_told_of_the_settings(
    given: Mapping[str, Any], options: Mapping[str, Any], when: str, then: str
) -> None:
    told = outcomes(LaunchConfig(**given), RendezvousOptions(**options))

    assert then in {outcome.when: outcome.then for outcome in told}[when]


@pytest.mark.parametrize(
    ("given", "then"),
    [
        (
            {"on_failure": ["exit:3,4=fail", "signal:9=exclude:60"]},
            (
                "Rows of --on-failure come first: 'exit:3,4' ends the job; 'signal:9' "
                "leaves out the node for 60 s. Workers are started again"
            ),
        ),
        (
            {"on_failure": ["exit:3=retry:1", "exception:*=hand-back"]},
            (
                "'exit:3' restarts it 1 time at most; 'exception:*' ends the job with "
                "exit code 93. Workers are"
            ),
        ),
        (
            {"restart_policy": "default:spent=hand-back"},
            "After that the job ends with exit code 93.",
        ),
        (
            {"restart_policy": "default:window_restarts=2,no_progress=3,min_uptime=9"},
            (
                "It ends before, if 2 restarts within 3600 s are spent, or 3 "
                "generations in a row failed without progress, or 1 generation in a "
                "row failed within 9 s."
            ),
        ),
        (
            {"restart_policy": "default:node_restarts=2,cool_down=60"},
            "A node that costs more than 2 restarts is left out for 60 s.",
        ),
        (
            {"restart_policy": "default:node_window_restarts=1,node_no_progress=4"},
            (
                "A node that costs more than 1 restart within 3600 s or fails 4 times "
                "without progress is left out for good."
            ),
        ),
        (
            {"restart_policy": "default:node_restarts=0,node_spent=fail"},
            "A node that costs more than 0 restarts ends the job.",
        ),
        (
            {"restart_policy": "default:backoff=5"},
            (
                "The first restart waits 5 s, each further one in a row 2 times as "
                "long, at most 300 s."
            ),
        ),
    ],
)
def test_what_follows_from_a_failure_is_told(
    given: Mapping[str, Any], then: str
) -> None:
    told = outcomes(LaunchConfig(**ALONE, **given), RendezvousOptions())

    assert then in {outcome.when: outcome.then for outcome in told}["a worker fails"]
