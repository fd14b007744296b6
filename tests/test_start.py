"""Start-up is sacred: what a command does not need, it does not import."""

import subprocess
import sys

import pytest


def loaded(code: str) -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(ended.stdout.splitlines()[-1].split())


HEAVY = {"attrs", "asyncio", "importlib.metadata", "msgspec", "pluggy", "psutil"}

HELP = """
import contextlib, io
from elaunch.cli import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    main(["--help"])
"""


BEAT = """
from elaunch.cli import main
main(["beat"])
"""

AROUND = "import elaunch.metrics, elaunch.timer, elaunch.control_plane, elaunch.data"
STORE = "from elaunch_rdzv_c10d import Store"


@pytest.mark.parametrize(
    "code", ["import elaunch", "import elaunch.worker", AROUND, STORE, HELP, BEAT]
)
def test_what_must_be_light_imports_nothing_heavy(code: str) -> None:
    assert loaded(code) & HEAVY == set()


def test_no_job_imports_a_framework() -> None:
    code = (
        "from elaunch import *\n"
        "c = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=1)\n"
        "elastic_launch(c, 'true')()"
    )

    assert loaded(code) & {"torch", "numpy", "jax"} == set()


RUN = """
import contextlib, os
os.chdir(os.sep)  # where there is no project
from elaunch.cli import main
with contextlib.suppress(SystemExit):
    main(["run", "-q", "--no-python", "true"])
"""

NOT_FOR_A_PLAIN_RUN = {
    "difflib": "names nobody knows",
    "email": "what else is installed",
    "hashlib": "a token",
    "importlib.metadata": "what else is installed",
    "pickle": "functions",
    "secrets": "a token",
    "psutil": "several nodes, monitors, systems without /proc",
    "elaunch.endpoint.identity": "who asks the agent",
    "elaunch.endpoint.service": "who asks the agent",
    "elaunch.endpoint.status": "who asks the agent",
    "elaunch.endpoint.token": "--control HOST:PORT",
    "elaunch.explanations": "workers that failed",
    "elaunch.failure_table": "workers that failed",
    "prometheus_client": "who asks for metrics",
    "elaunch.health": "--health-check",
    "elaunch.timer": "--monitor timer",
    "elaunch.watchdog": "--monitor timer",
    "elaunch.agent.measuring": "--metrics",
    "elaunch.cli.blame": "what is refused",
    "elaunch.cli.config_file": "--config",
    "elaunch.cli.explain": "--dry-run",
    "elaunch.launcher.health": "--health-check",
    "elaunch.launcher.plan": "--dry-run",
    "elaunch.launcher.restarts": "--dry-run",
    "elaunch.monitors.blocks": "workers with sections",
    "elaunch.monitors.options": "--monitor",
    "elaunch.monitors.output": "--monitor output",
    "elaunch.monitors.waiting": "--monitor, workers with sections",
    "elaunch.preflights.disk": "--preflight disk",
    "elaunch.preflights.options": "--preflight",
    "elaunch.restart_budget.judging": "workers that failed",
    "elaunch.schedulers": "processes that a scheduler started",
    "elaunch_events_log.options": "--event-recorder",
    "elaunch_rdzv_etcd.options": "--rdzv-backend etcd",
    "elaunch_spawn_local.by_value": "functions",
    "elaunch_spawn_local.cpus.binding": "--numa-binding",
    "elaunch_spawn_local.options": "--monitor process, --logs-specs",
    "elaunch_spawn_local.output.filters": "--duplicate-stdout-filters",
    "elaunch_spawn_local.output.follow": "files that are shown",
    "elaunch_spawn_local.output.scribe_process": "--log-timestamps",
    "elaunch_spawn_local.output.scribes": "--log-timestamps",
    "elaunch_spawn_local.output.watch": "files that are shown",
    "elaunch_spawn_local.output.tap": "--monitor output",
    "elaunch_spawn_local.process_monitor": "--monitor process",
    "elaunch_spawn_local.stack_boot": "--dump-stacks, --monitor",
    "elaunch_spawn_local.stacks": "--dump-stacks, workers that hang",
}
"""Modules, and what alone they are for."""


def test_a_plain_run_imports_only_what_it_needs() -> None:
    assert loaded(RUN) & NOT_FOR_A_PLAIN_RUN.keys() == set()
