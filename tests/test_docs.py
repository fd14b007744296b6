"""The documentation says what the code does; its examples run."""

import argparse
import contextlib
import inspect
import io
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import pytest

from elaunch import (
    accelerators,
    builtin,
    devices,
    errors,
    hookspecs,
    output,
    slots,
    templates,
)
from elaunch.binding import NumaBinding
from elaunch.cli import variables
from elaunch.cli.actions import flag_of, settings_of
from elaunch.cli.parser import build_parsers
from elaunch.config import checks
from elaunch.control_plane.main import SOCKETS
from elaunch.endpoint import places, token
from elaunch.environ import BY_AGENT, BY_BOOTSTRAP, BY_SPAWNER, TABLE, WITHHELD
from elaunch.events import Event, EventName
from elaunch.failure_table import Kind, Treatment
from elaunch.failures import Ending, Request
from elaunch.inventory import ways
from elaunch.launcher import switches
from elaunch.membership.options import RendezvousOptions
from elaunch.plugins import BLOCK_VARIABLE
from elaunch.plugins.loader import HOOKS, declared
from elaunch.policy import PolicyParameters
from elaunch.preflights import command as preflight_command
from elaunch.provider import NoOptions
from elaunch.restart_budget import BudgetOptions
from elaunch.schedulers import kubernetes, mpi, pbs, slurm
from elaunch.templates import NAMES
from elaunch.testing import RestartPolicyContract
from elaunch_events_log import plugin as events_log
from elaunch_events_log.command import parser as events_parser
from elaunch_events_log.story.text import PHASES
from elaunch_rdzv_c10d import job_token
from elaunch_rdzv_etcd.local import binary
from elaunch_rdzv_etcd.local.command import parser
from elaunch_spawn_local import plugin as spawn_local
from elaunch_spawn_local.plugin import PROCESS_INTERVAL


ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
LINES, WHOLE = re.MULTILINE, re.DOTALL
READ_BY_NAME = r"\b(?:ELAUNCH|PET|SLURM)_[A-Z_]+\b"
SQLITE = ROOT / "examples" / "elaunch-rdzv-sqlite"


def page(name: str) -> str:
    return (DOCS / name).read_text()


def first_cells(text: str) -> list[str]:
    """Return the first cell of each row of all tables, heads and rules aside."""
    rows = re.findall(r"^\| (.+?) (?<!\\)\|", text, LINES)
    return [cell for cell in rows if cell.startswith("`")]


def subparser(name: str) -> argparse.ArgumentParser:
    return build_parsers()[1][name]


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    flags = {f for a in parser._actions for f in a.option_strings}
    return flags - {"-h", "--help"}


@pytest.mark.parametrize("command", ["run", "plugins", "replay", "beat", "status"])
def test_every_flag_is_documented(command: str) -> None:
    section = page("cli.md").split(f"## `elaunch {command}")[1].split("\n## ")[0]
    told = {f for c in first_cells(section) for f in re.findall(r"`(--?[\w-]+)", c)}

    assert told == flags_of(subparser(command))


def test_every_flag_by_which_agents_are_told_what_to_do_is_documented() -> None:
    section = page("cli.md").split("## `elaunch drain`")[1].split("\n## ")[0]
    told = {f for c in first_cells(section) for f in re.findall(r"`(--?[\w-]+)", c)}

    assert told == flags_of(subparser("drain"))
    assert flags_of(subparser("restart")) == told - {"--all", "--wait"}
    assert flags_of(subparser("stop")) == told - {"--all"}


def test_explain_takes_the_flags_of_a_run_and_those_that_are_documented() -> None:
    section = page("cli.md").split("## `elaunch explain")[1].split("\n## ")[0]
    told = {f for c in first_cells(section) for f in re.findall(r"`(--?[\w-]+)", c)}

    assert flags_of(subparser("explain")) - flags_of(subparser("run")) == told


def test_every_name_of_a_template_is_documented_with_its_meaning() -> None:
    section = page("cli.md").split("## Templates")[1].split("\n## ")[0]

    assert dict(re.findall(r"^\| `\{(\w+)\}` \| (.+) \|$", section, LINES)) == NAMES


def test_every_word_for_a_number_of_workers_is_documented() -> None:
    section = page("cli.md").split("## Workers of a node")[1].split("\n## ")[0]
    told = {cell.strip("`") for cell in first_cells(section)}

    assert told == set(accelerators.WORDS)
    for maker in accelerators.MAKERS:
        assert all(f"`{way}`" in section or way == "NVML" for way in ways(maker.word))


def test_every_mode_of_binding_is_documented() -> None:
    section = page("cli.md").split("## Binding to CPUs")[1].split("\n## ")[0]

    assert [cell.strip("`") for cell in first_cells(section)] == list(NumaBinding)


def test_every_flag_of_the_server_is_documented() -> None:
    section = page("cli.md").split("## `elaunch etcd")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(--[\w-]+)[^|]*` \| ?`?([^`|]*?)`? \|", section, LINES)
    server = parser("elaunch etcd")

    assert {flag for flag, _ in rows} == flags_of(server)
    for flag, default in rows:
        known = server.get_default(flag.strip("-").replace("-", "_"))
        assert str(known or "") == default


def test_defaults_in_the_docs_are_the_parsers() -> None:
    section = page("cli.md").split("## `elaunch run")[1].split("\n## ")[0]
    rows = re.findall(
        r"^\| `(--[\w-]+)[^|]*(?:\\\|[^|]*)*\| `([^`]+)` \|", section, LINES
    )
    parser = subparser("run")
    for flag, default in rows:
        known = parser.get_default(flag.strip("-").replace("-", "_"))

        assert f"{known:g}" if isinstance(known, float) else str(known) == default


def test_every_flag_is_documented_with_its_variables() -> None:
    section = page("cli.md").split("## Settings")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `(--[\w-]+)` \| (.*) \| ?(.*?) ?\|$", section, LINES)

    assert [
        (flag, re.findall(r"`(\w+)`", "".join(cells))) for flag, *cells in rows
    ] == [
        (flag_of(action), list(variables.names_of(setting)))
        for setting, action in settings_of(subparser("run")).items()
    ]


def test_the_example_of_a_configuration_file_is_the_one_that_runs() -> None:
    (code,) = re.findall(r"```toml\n(.*?)```", page("cli.md"), WHOLE)

    assert code == (ROOT / "examples" / "job.toml").read_text()


def test_every_variable_is_documented_with_its_meaning() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", page("environment.md"), LINES))
    meanings = (
        {v.name: v.meaning for v in TABLE} | dict(BY_BOOTSTRAP) | dict(BY_SPAWNER)
    )
    for table in (
        BY_AGENT,
        slots.EXPLICIT,
        slurm.VARIABLES,
        mpi.VARIABLES,
        pbs.VARIABLES,
        kubernetes.VARIABLES,
        job_token.VARIABLES,
        preflight_command.VARIABLES,
        variables.VARIABLES,
        checks.VARIABLES,
        output.VARIABLES,
        binary.VARIABLES,
        switches.VARIABLES,
        SOCKETS,
        token.VARIABLES,
        places.VARIABLES,
    ):
        meanings |= dict(table)
    meanings |= {v.name: v.meaning for v in devices.TABLE}

    assert rows.keys() == meanings.keys() | {BLOCK_VARIABLE}
    assert {name: rows[name] for name in meanings} == meanings


def test_every_variable_that_the_code_reads_is_documented() -> None:
    named = set()
    for path in [*ROOT.glob("core/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]:
        named |= set(re.findall(READ_BY_NAME, path.read_text()))

    assert {n for n in named if f"`{n}`" not in page("environment.md")} == set()


def test_what_a_worker_does_not_get_is_documented() -> None:
    (told,) = re.findall(r"environment but ([^:]*), and:", page("environment.md"))

    assert re.findall(r"`(\w+)`", told) == [*WITHHELD]


def test_every_event_is_documented() -> None:
    table = page("events.md").split("| name | when | facts |")[1].split("\n\n")[0]

    assert re.findall(r"^\| `([\w.]+)`", table, LINES) == [e.value for e in EventName]
    fields = first_cells(page("events.md").split("| name | when")[0])
    assert {f.strip("`") for f in fields} == {f.name for f in attrs.fields(Event)}


def test_every_flag_of_the_reader_of_events_is_documented() -> None:
    section = page("events.md").split("## `elaunch events`")[1].split("\n## ")[0]
    told = {f for c in first_cells(section) for f in re.findall(r"`(--[\w-]+)", c)}

    assert told == flags_of(events_parser("elaunch events"))


def test_every_phase_of_a_generation_is_documented() -> None:
    section = page("events.md").split("## `elaunch events`")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `([\w ]+)` \| (from .+) \|$", section, LINES))

    assert rows == PHASES


def test_every_option_of_a_recorder_is_documented_with_its_default() -> None:
    section = page("events.md").split("## Recorders")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(.*?)` \|", section, LINES)
    told = {(recorder, option): default for recorder, option, default in rows}

    assert told == {
        (known.name, field.name): str(field.default)
        for known in events_log.elaunch_register_event_recorders()
        for field in attrs.fields(known.options_class())
    }


def test_every_option_of_a_monitor_is_documented_with_its_default() -> None:
    for known in (
        *builtin.elaunch_register_monitors(),
        *spawn_local.elaunch_register_monitors(),
    ):
        section = page("monitors.md").split(f"\n## `{known.name}`\n")[1]
        rows = re.findall(
            r"^\| `(\w+)` \| `(.*?)` \|", section.split("\n## ")[0], LINES
        )

        assert dict(rows) == {
            field.name: str(
                PROCESS_INTERVAL if field.default is None else field.default
            )
            for field in attrs.fields(known.options_class())
        }
        assert f"| [`{known.name}`](#{known.name}) |" in page("monitors.md")


def test_every_error_is_in_the_table_of_exit_codes() -> None:
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| (.+) \|$", page("exit-codes.md"), LINES)
    told = {e: code for code, names in rows for e in re.findall(r"`(\w+)`", names)}
    classes = {
        name: cls
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, errors.ElaunchError)
    }

    assert told.keys() == classes.keys()
    for name, code in told.items():
        if code.isdigit():
            assert classes[name].exit_code == int(code)


def test_every_hook_is_documented_with_its_signature() -> None:
    text = page("hooks.md")
    names = [n for n in vars(hookspecs) if n.startswith("elaunch_register_")]

    assert sorted(names) == sorted(HOOKS)
    for name in names:
        hook = getattr(hookspecs, name)
        source = inspect.getsource(hook)
        signature = source.split('"""', maxsplit=1)[0].split("@hookspec\n")[1]
        assert f"```python\n{signature.strip()} ...\n```" in text


def test_every_option_of_the_rendezvous_is_documented() -> None:
    section = page("quickstart.md").split("## Options of the rendezvous")[1]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+|none) \|", section, LINES))
    options = RendezvousOptions()

    assert rows.keys() == {field.name for field in attrs.fields(RendezvousOptions)}
    for name, default in rows.items():
        value = options.join_limit if name == "join_timeout" else getattr(options, name)
        assert value == (None if default == "none" else float(default))


def test_every_option_of_the_restart_policy_is_documented_with_its_default() -> None:
    section = page("policies.md").split("## Budgets")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\w.-]+) \|", section, LINES))

    assert rows == {
        field.name: f"{field.default:g}"
        if isinstance(field.default, float)
        else str(field.default or "none")
        for field in attrs.fields(BudgetOptions)
    }


def test_every_kind_of_row_and_what_follows_is_documented() -> None:
    section = page("policies.md").split("## What follows")[1].split("\n## ")[0]
    when, then = section.split("| then |")
    kinds = [cell.strip("`").partition(":")[0] for cell in first_cells(when)]

    assert kinds == list(Kind)
    assert {cell.strip("`").partition(":")[0] for cell in first_cells(then)} == set(
        Treatment
    )
    for word in (*Ending, *Request):
        assert f"`{word}`" in when


def test_every_name_of_a_template_is_documented() -> None:
    section = page("output.md").split("## Names of a template")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, LINES))

    assert rows == dict(templates.NAMES)


def test_links_lead_somewhere() -> None:
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def commands() -> list[tuple[str, str]]:
    """Return every console line of the pages that begins with a prompt, each once."""
    found: dict[str, str] = {}
    for path in PAGES:
        for block in re.findall(r"```console\n(.*?)```", path.read_text(), WHOLE):
            for command in re.findall(r"^\$ (.+)$", block, LINES):
                found.setdefault(command, path.name)
    # `test_hangs.py` runs the one that hangs, and looks at what comes of it.
    return sorted((n, c) for c, n in found.items() if "--hang-at" not in c)


@pytest.mark.parametrize(("name", "command"), commands())
def test_commands_of_the_docs_run(name: str, command: str, tmp_path: Path) -> None:
    """Each line with a prompt runs as it is, but in a folder of its own."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    words = shlex.split(command)
    assert words[0] == ".venv/bin/elaunch", f"{name}: not ours to run: {command}"
    for framework in re.findall(r"examples/(torch|jax)_", command):
        if find_spec(framework) is None:
            pytest.skip(f"{framework} is not installed: make test-interop")
    ended = subprocess.run(
        [sys.executable, "-m", "elaunch", *words[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr


def python_blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(), WHOLE)


def test_the_function_example_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = python_blocks(ROOT / "README.md")
    script = tmp_path / "job.py"
    script.write_text(code)
    ended = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert ended.stdout.strip() == re.findall(r"#\s*(\{.*\})", code)[0]


@pytest.mark.parametrize("number", range(6))
def test_the_examples_of_the_python_page_print_what_they_say(
    number: int, tmp_path: Path
) -> None:
    blocks = python_blocks(DOCS / "python-api.md")
    assert len(blocks) == 6
    script = tmp_path / "job.py"
    script.write_text(blocks[number])
    ended = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    said = re.findall(r"\)  # (.+)$", blocks[number], LINES)
    assert ended.stdout.splitlines() == said


def test_the_simulation_of_the_testing_page_runs(tmp_path: Path) -> None:
    (code,) = python_blocks(DOCS / "testing.md")
    script = tmp_path / "leaders.py"
    script.write_text(code)
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.stderr == ""
    assert ended.stdout.strip() == re.findall(r"print\(.*#\s*(.*)", code)[0]


def test_the_policy_in_the_documentation_is_one() -> None:
    (code,) = python_blocks(DOCS / "policies.md")
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, names)  # noqa: S102 - it is what users would write

    assert printed.getvalue().strip() == re.findall(r"print\(.*#\s*(.*)", code)[0]
    (provider,) = names["elaunch_register_restart_policies"]()
    policy = provider.create(PolicyParameters(3), NoOptions())
    for name in dir(RestartPolicyContract):
        if name.startswith("test_"):
            getattr(RestartPolicyContract(), name)(policy)


def test_the_plugin_page_quotes_the_plugin() -> None:
    quotes = re.findall(
        r"```(?:toml|python)\n# (\S+\.(?:toml|py))\n(.*?)```",
        page("writing-a-plugin.md"),
        WHOLE,
    )

    assert [name for name, _ in quotes] == [
        "pyproject.toml",
        "src/elaunch_rdzv_sqlite/plugin.py",
        "tests/test_contract.py",
    ]
    for name, text in quotes:
        assert text == (SQLITE / name).read_text()


def test_the_page_around_the_agent_quotes_examples_that_run() -> None:
    quotes = re.findall(
        r"```python\n# (examples/\w+\.py)\n(.*?)```", page("around.md"), WHOLE
    )

    assert [name for name, _ in quotes] == [
        "examples/timer.py",
        "examples/door.py",
        "examples/metrics.py",
    ]
    for name, text in quotes:
        assert text == (ROOT / name).read_text()
    ended = subprocess.run(
        [sys.executable, str(ROOT / quotes[-1][0])],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "][my_app]: samples=512\n" in ended.stdout


def test_the_recorder_of_the_plugin_page_works(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from types import ModuleType

    code = python_blocks(DOCS / "writing-a-plugin.md")[-1]
    module = ModuleType("counter_plugin")
    exec(code, vars(module))  # noqa: S102 - the page's own code
    (provider,) = declared("counter", module)["event recorder"]
    recorder = provider.create(None, None)
    recorder.record(Event(name="x", run_id="y"))
    recorder.close()

    assert capsys.readouterr().out == "1 events\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the page's plugin from its folder into a folder of its own."""
    target = tmp_path_factory.mktemp("site")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--disable-pip-version-check"),
            *("--target", str(target), str(SQLITE)),
        ],
        check=True,
        timeout=120,
    )
    return target


def with_site(site: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(site)}


def test_the_plugin_of_the_page_is_listed(site: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "elaunch", "plugins"],
        env=with_site(site),
        capture_output=True,
        text=True,
        check=True,
    )

    assert re.search(
        r"rendezvous +sqlite +elaunch-rdzv-sqlite 1.0.0 +ok", listed.stdout
    )


def test_the_plugin_of_the_page_runs_a_job_of_two_agents(
    site: Path, tmp_path: Path
) -> None:
    agents = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "elaunch", "run", "--rdzv-backend", "sqlite"),
                *("--rdzv-endpoint", "job.db", "--rdzv-id", "job", "--nnodes", "2"),
                *("--local-addr", "127.0.0.1", str(ROOT / "examples/sum_ranks.py")),
            ],
            env=with_site(site),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [agent.communicate(timeout=120)[0] for agent in agents]

    assert [agent.returncode for agent in agents] == [0, 0]
    assert sorted("".join(said).splitlines()) == [
        "[0] rank 0 of 2: SUM = 1",
        "[1] rank 1 of 2: SUM = 1",
    ]


def test_the_plugin_of_the_page_keeps_its_contract(site: Path) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-c", str(ROOT / "pyproject.toml")),
            *("--rootdir", str(SQLITE), str(SQLITE / "tests")),
        ],
        env=with_site(site),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout
