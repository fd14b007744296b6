"""What goes wrong while an agent ends does not hide how its job ended."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from agents import Launch, Script


RUDE = """
from elaunch.api import MemoryStore, Provider, RendezvousOptions, StoreRendezvous
from elaunch.hookspecs import hookimpl

class Rude(StoreRendezvous):
    async def {method}:
        await super().{call}
        raise OSError("rude {call}")

def create(params, options):
    async def open_store():
        return MemoryStore()
    return Rude(open_store, params, options)

@hookimpl
def elaunch_register_rendezvous():
    return [Provider("rude", "fails when it goes", create, RendezvousOptions)]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory of packages with a plugin whose code is still to be written."""
    info = tmp_path / "site" / "rude-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rude\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[elaunch]\nrude = rude_plugin\n")
    return info.parent


@pytest.mark.parametrize("status", [0, 3])
@pytest.mark.parametrize("call", ["leave(reason)", "aclose()"])
def test_a_rendezvous_that_fails_to_leave_changes_no_outcome(
    launch: Launch, script: Script, site: Path, call: str, status: int
) -> None:
    method = {"leave(reason)": "leave(self, reason)", "aclose()": "aclose(self)"}[call]
    (site / "rude_plugin.py").write_text(RUDE.format(method=method, call=call))
    worker = script(f"raise SystemExit({status})")
    agent = launch("--rdzv-backend", "rude", worker, PYTHONPATH=str(site))

    assert agent.wait() == status
    agent.wait_for(f"OSError: rude {call[:5]}")
    assert ("the job succeeded" in agent.output) == (status == 0)


AT_A_LOSS = """
from elaunch.api import NoOptions, Provider
from elaunch.hookspecs import hookimpl

class AtALoss:
    def on_failure(self, report, history):
        return {}["what now"]

@hookimpl
def elaunch_register_restart_policies():
    return [Provider("at-a-loss", "can't decide", lambda *_: AtALoss(), NoOptions)]
"""


def test_a_policy_that_can_not_decide_is_named_with_the_place_of_its_error(
    launch: Launch, script: Script, site: Path
) -> None:
    (site / "rude_plugin.py").write_text(AT_A_LOSS)
    line = AT_A_LOSS[: AT_A_LOSS.index("what now")].count("\n") + 1
    words = ("--standalone", "--restart-policy", "at-a-loss", "--max-restarts", "3")
    agent = launch(*words, script("raise SystemExit(3)"), PYTHONPATH=str(site))

    assert agent.wait() == 3
    (told,) = agent.wait_for("^elaunch: restart policy .*")
    assert told[0] == (
        "elaunch: restart policy 'at-a-loss' can't decide, and the job ends: it raised "
        f"KeyError: 'what now' (rude_plugin.py:{line})"
    )


DEAF = """
import asyncio
from elaunch.api import NoOptions, PreflightOptions, PreflightResult, Provider
from elaunch.hookspecs import hookimpl

async def go_on():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue

class Monitor:
    def environment(self):
        return {"WATCHED": "1"}

    async def watch(self, group):
        await go_on()
        yield

class Preflight:
    def __init__(self, params, options):
        self.options = options

    async def check(self, context):
        await go_on()

@hookimpl
def elaunch_register_monitors():
    return [Provider("deaf", "hears nothing", lambda *_: Monitor(), NoOptions)]

@hookimpl
def elaunch_register_preflights():
    return [Provider("deaf", "likewise", Preflight, PreflightOptions)]
"""


def test_what_won_t_be_cancelled_holds_up_neither_a_restart_nor_the_end(
    launch: Launch, script: Script, site: Path
) -> None:
    (site / "rude_plugin.py").write_text(DEAF)
    worker = script(
        "import os\n"
        "print('watched' if 'WATCHED' in os.environ else 'alone', flush=True)\n"
        "raise SystemExit(os.environ['TORCHELASTIC_RESTART_COUNT'] == '0')"
    )
    check = "deaf:required=false,timeout=0.2"
    words = ("--standalone", "--monitor", "deaf", "--preflight", check)
    agent = launch(*words, "--max-restarts", "1", worker, PYTHONPATH=str(site))

    assert agent.wait() == 0, agent.output
    said = [line for line in agent.lines if line in {"watched", "alone"}]
    assert said == ["watched", "alone"]
    agent.wait_for("info: monitor 'deaf' is disabled: it goes on 2 s after it was")
    assert agent.output.count("is disabled") == 1


def test_nor_does_it_hold_up_a_program(tmp_path: Path, site: Path) -> None:
    (site / "rude_plugin.py").write_text(DEAF)
    program = tmp_path / "program.py"
    program.write_text(
        "from elaunch import LaunchConfig, elastic_launch\n"
        "def work(): return 'done'\n"
        "if __name__ == '__main__':\n"
        "    config = LaunchConfig(1, 1, 1, monitors=('deaf',))\n"
        "    print(elastic_launch(config, work)())\n"
    )
    told = subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert told.stdout == "{0: 'done'}\n"
