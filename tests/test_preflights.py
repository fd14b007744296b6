"""Checks of real agents before their workers start, and what the page says of them."""

import asyncio
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import attrs
import psutil
import pytest
from agents import Agent, Launch, is_alive

from elaunch import builtin
from elaunch.api import PreflightContext, PreflightOptions, PreflightParameters
from elaunch.errors import PREEMPTED_EXIT
from elaunch.options import build_options
from elaunch.plugins.loader import declared


Script = Callable[[str], str]

PAGE = (Path(__file__).parent.parent / "docs" / "preflight.md").read_text()

SHOW = "import os; print('generation', os.environ['ELAUNCH_GENERATION'], flush=True)"

QUICK = "retry=0.1,repeat=0"


def job(*more: str, nnodes: str = "2", conf: str = "last_call_timeout=0") -> list[str]:
    return [
        *("--rdzv-backend", "file", "--rdzv-endpoint", "./meet", "--rdzv-id", "job"),
        *("--nnodes", nnodes, "--rdzv-conf", f"poll_interval=0.02,{conf}"),
        *("--local-addr", "127.0.0.1", *more),
    ]


def until(path: Path) -> str:
    """Return the check that fails until a file is there."""
    return (
        f"command:run=sh -c 'test -e {path} || echo no cable; test -e {path}',{QUICK}"
    )


def test_a_node_stays_out_until_it_passes_and_everybody_is_told_why(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    worker = script(SHOW)
    cable = tmp_path / "cable"
    well = launch(*job(), worker)
    unfit = launch(*job("--preflight", until(cable)), worker)
    reason = "preflight 'command': 'sh' ended with 1: no cable"
    told = unfit.wait_for(re.escape(reason.replace("': '", "' failed: '")))
    for agent in (well, unfit):
        agent.wait_for(rf"waiting: 1/2 nodes .*\(unfit: {re.escape(reason)}\)")
    cable.touch()

    assert [agent.wait() for agent in (well, unfit)] == [0, 0]
    assert told[0].string.endswith("this node stays out until it passes")
    unfit.wait_for("preflight 'command' passes now")
    for agent in (well, unfit):
        agent.wait_for("generation 1: 2 nodes")


def test_others_begin_without_it_and_take_it_in(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    worker = script(f"{SHOW}; import signal; signal.pause()")
    cable = tmp_path / "cable"
    unfit = launch(*job("--preflight", until(cable), nnodes="1:2"), worker)
    unfit.wait_for("stays out until it passes")
    well = launch(*job(nnodes="1:2"), worker)
    well.wait_for("generation 1$")
    cable.touch()
    well.wait_for("generation 2$")
    unfit.wait_for("generation 2$")
    for agent in (unfit, well):
        agent.send(signal.SIGTERM)

    assert "generation 1:" not in unfit.output
    assert {agent.wait() for agent in (unfit, well)} == {PREEMPTED_EXIT}


def test_each_restart_is_preceded_by_a_check_once_the_workers_are_gone(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    log, pid = tmp_path / "log", tmp_path / "pid"
    worker = script(
        "import os, sys\n"
        f"open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        "sys.exit(os.environ['ELAUNCH_GENERATION'] < '3')\n"
    )
    look = tmp_path / "look.sh"
    look.write_text(
        'echo "$ELAUNCH_PREFLIGHT_GENERATION $ELAUNCH_PREFLIGHT_ATTEMPT '
        f'$(cat {pid} 2>/dev/null | xargs -r ps -o pid= -p)" >> {log}\n'
    )
    agent = launch(
        *("--standalone", "--max-restarts", "2"),
        *("--preflight", f"command:run=sh {look}", worker),
    )

    assert agent.wait() == 0
    assert [line.strip() for line in log.read_text().splitlines()] == [
        "0 1",
        "1 1",
        "2 1",
    ]


def test_a_job_that_can_not_form_because_of_it_says_so(
    launch: Launch, script: Script
) -> None:
    agent = launch(
        *("--standalone", "--rdzv-conf", "join_timeout=0.5"),
        *("--preflight", "memory:available=8000TiB", script(SHOW)),
    )

    assert agent.wait() == 6
    agent.wait_for(r"did not form within 0\.5 s")
    agent.wait_for(r"unfit: preflight 'memory': .*and 8000\.0 TiB are asked for")


def test_all_that_come_with_elaunch_pass_on_a_node_that_is_well(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    agent = launch(
        *("-v", "--preflight", f"disk:path={tmp_path},free=1M,inodes=0"),
        *("--preflight", "memory:available=1M", "--preflight", "endpoint"),
        *("--preflight", "clock:max_error=1000,required=false"),
        *("--preflight", "command:run=true", *job(nnodes="1"), script(SHOW)),
    )

    assert agent.wait() == 0
    for name in ("disk", "memory", "endpoint", "command"):
        agent.wait_for(f"preflight.passed .*preflight='{name}'")
    agent.wait_for("preflight[. ].*clock")


def checking(agent: Agent, command: str) -> list[psutil.Process]:
    below = psutil.Process(agent.pid).children(recursive=True)
    return [process for process in below if process.name() == command]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_agent_ends_its_checks(
    launch: Launch, script: Script, tmp_path: Path, how: signal.Signals
) -> None:
    look = tmp_path / "look.sh"
    look.write_text(f"trap '' TERM; touch {tmp_path}/begun; sleep 1000 & wait\n")
    agent = launch(
        *("--standalone", "--preflight", f"command:run=sh {look},timeout=500"),
        script(SHOW),
    )
    agent.wait_for("'command' is still under way")
    (sleeping,) = checking(agent, "sleep")
    agent.process.send_signal(how)
    status = agent.wait()
    psutil.wait_procs([sleeping], timeout=20)

    assert status == (PREEMPTED_EXIT if how == signal.SIGTERM else -how)
    assert not is_alive(sleeping.pid)


@pytest.mark.parametrize(
    ("preflight", "status", "text"),
    [
        ("dsk", 3, "did you mean 'disk'?"),
        ("disk:fre=1", 2, "there is no option 'fre'; did you mean 'free'?"),
        ("disk:free=much", 2, "'free' is a number of bytes, for example"),
        ("disk:timeout=0", 2, "'timeout' must be > 0"),
        ("command", 2, "--preflight 'command:run=./check_gpus.sh --quick'"),
        ("endpoint:address=host:x", 2, "'host:x' is not of the form HOST:PORT"),
        ("clock:server=a b", 2, "'server' is of the form HOST[:PORT], not 'a b'"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_what_is_wrong_is_told_before_anything_starts(
    launch: Launch, script: Script, preflight: str, status: int, text: str, *, dry: bool
) -> None:
    flags = ["--dry-run"] if dry else []
    agent = launch("--standalone", *flags, "--preflight", preflight, script(SHOW))

    assert agent.wait() == status
    assert text in agent.output
    assert "generation" not in agent.output


def test_every_option_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(.*?)` \|", PAGE, re.MULTILINE)
    section = PAGE.split("## Options of every check")[1].split("\n## ")[0]
    shared = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", section, re.MULTILINE)
    common = attrs.fields_dict(PreflightOptions)

    assert shared == [(name, str(field.default)) for name, field in common.items()]
    assert rows == [
        (known.name, field.name, repr(field.default))
        for known in builtin.elaunch_register_preflights()
        for field in attrs.fields(known.options_class())
        if field.name not in common
    ]


def test_the_check_of_the_page_works(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    module = ModuleType("device_plugin")
    # attrs looks up annotations there.
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code, vars(module))  # noqa: S102 - the page's own code
    (provider,) = declared("device", module)["preflight"]
    params = PreflightParameters(run_id="job")
    problems = []
    for path in ("/dev/null", "/dev/nowhere"):
        options = build_options(provider.options_class(), {"path": path}, "device")
        preflight = provider.create(params, options)
        problems.append(asyncio.run(preflight.check(PreflightContext())).problem)

    assert problems == ["", "there is no device '/dev/nowhere'"]
