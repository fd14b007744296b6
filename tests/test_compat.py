"""The table of what torchelastic has is whole and true, as far as can be read."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from collected import node_ids
from compat_table import PAGE, ROOT, STATUSES, Row, load, render, rows

from elaunch import LaunchConfig
from elaunch.cli.parser import OWN, build_parsers
from elaunch.events import EventName
from elaunch_rdzv_etcd.local.command import parser as etcd_parser


ROWS = rows()
QUOTED = r"`([^`]+)`"
NO_TORCH = "torch is not installed: make test-interop"
ROW = re.compile(r"^\| (.+) \|$", re.MULTILINE)


def test_the_page_is_what_the_rows_say() -> None:
    assert PAGE.read_text() == render(load()), "run: make compat"


def test_each_row_has_a_name_of_its_own() -> None:
    ids = [row.id for row in ROWS]

    assert {name for name in ids if ids.count(name) > 1} == set()


def test_each_row_says_what_it_has_to() -> None:
    assert [row.id for row in ROWS if row.status not in STATUSES] == []
    unexplained = [r.id for r in ROWS if r.status != "same" and not r.reason]
    assert unexplained == []
    unproven = [
        row.id
        for row in ROWS
        if not (row.tests or row.waits_for or row.status == "left out")
    ]
    assert unproven == []
    flags = {
        (row.section == "upstream-tests", row.flag in tuple("AND")) for row in ROWS
    }
    assert flags == {(True, True), (False, False)}


def test_no_row_waits_for_anything() -> None:
    assert [row.id for row in ROWS if row.waits_for] == []


def test_each_test_that_is_named_exists() -> None:
    known = node_ids()

    assert {
        (row.id, test) for row in ROWS for test in row.tests if test not in known
    } == set()


def flags() -> set[str]:
    parsers = [*build_parsers()[1].values(), etcd_parser("elaunch etcd")]
    return {flag for p in parsers for a in p._actions for flag in a.option_strings}


def documented() -> set[str]:
    """Return what the tables of the docs name in cells that begin with a name."""
    pages = {*ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md")} - {PAGE}
    rows = [row for page in pages for row in ROW.findall(page.read_text())]
    cells = [cell for row in rows for cell in row.split(" | ")]
    return {name for c in cells if c[:1] == "`" for name in re.findall(QUOTED, c)}


def importable(name: str) -> bool:
    """Whether a dotted name leads to a module, or to something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            fields = attrs.fields_dict(found) if attrs.has(found) else {}
            if part not in fields and not hasattr(found, part):
                return False
            found = getattr(found, part, None)
        return True
    return False


def exists(name: str, told: set[str]) -> bool:
    command = name.removeprefix("elaunch ")
    return (
        name in told
        or command in (*OWN, "etcd")
        or (name.startswith("docs/") and (ROOT / name).is_file())
        or (name.startswith("elaunch") and importable(name))
    )


def test_each_name_of_elaunch_exists() -> None:
    told = flags() | documented() | set(EventName)

    assert {
        (row.id, name)
        for row in ROWS
        if not row.waits_for
        for name in re.findall(QUOTED, row.name)
        if not exists(name, told)
    } == set()


def test_each_default_of_the_configuration_is_torchelastics_or_explained() -> None:
    ours = attrs.fields_dict(LaunchConfig)
    told = {
        name: row.default
        for row in ROWS
        if row.status == "same" and not row.reason
        for name in row.covers
        if name.startswith("LaunchConfig.") and row.default != "required"
    }

    assert len(told) > 5
    assert {
        name: repr(ours[name.removeprefix("LaunchConfig.")].default) for name in told
    } == told


def covered() -> dict[str, Row]:
    return {name: row for row in ROWS for name in row.covers}


@pytest.mark.interop
def test_each_flag_of_torchrun_has_a_row() -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    from torch.distributed.argparse_util import check_env, env
    from torch.distributed.run import get_args_parser

    known = covered()
    wanted: dict[str, str] = {}
    for action in get_args_parser()._actions:
        names = [flag.replace("_", "-") for flag in action.option_strings]
        if isinstance(action, env | check_env):
            names.append(f"PET_{action.dest.upper()}")
        wanted |= dict.fromkeys(names or [action.dest], repr(action.default))
    for name in ("-h", "--help"):
        wanted.pop(name)

    assert wanted.keys() - known.keys() == set()
    defaults = {name: known[name].default or repr(None) for name in wanted}
    assert defaults == wanted


@pytest.mark.interop
def test_each_field_of_the_configuration_has_a_row_with_its_default() -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    import dataclasses

    from torch.distributed.launcher.api import LaunchConfig

    def default(field: Any) -> str:
        if field.default is not dataclasses.MISSING:
            return repr(field.default)
        if field.default_factory is not dataclasses.MISSING:
            return repr(field.default_factory())
        return "required"

    fields = {
        f"LaunchConfig.{f.name}": default(f) for f in dataclasses.fields(LaunchConfig)
    }
    known = covered()

    assert {name: known[name].default for name in fields if name in known} == fields


MODULES = """
launcher.api run launch argparse_util rendezvous
elastic.agent.server.api elastic.agent.server.local_elastic_agent
elastic.agent.server.health_check_server elastic.multiprocessing
elastic.multiprocessing.api elastic.multiprocessing.tail_log
elastic.multiprocessing.redirects elastic.multiprocessing.subprocess_handler
elastic.multiprocessing.subprocess_handler.handlers
elastic.multiprocessing.subprocess_handler.subprocess_handler
elastic.multiprocessing.errors elastic.multiprocessing.errors.error_handler
elastic.multiprocessing.errors.handlers elastic.rendezvous elastic.rendezvous.api
elastic.rendezvous.registry elastic.rendezvous.dynamic_rendezvous
elastic.rendezvous.c10d_rendezvous_backend elastic.rendezvous.etcd_rendezvous_backend
elastic.rendezvous.etcd_rendezvous elastic.rendezvous.etcd_store
elastic.rendezvous.etcd_server elastic.rendezvous.static_tcp_rendezvous
elastic.rendezvous.utils elastic.events elastic.events.api elastic.events.handlers
elastic.metrics elastic.metrics.api elastic.timer elastic.timer.api
elastic.timer.local_timer elastic.timer.file_based_local_timer
elastic.timer.debug_info_logging elastic.control_plane elastic.utils
elastic.utils.api elastic.utils.store elastic.utils.distributed elastic.utils.logging
elastic.utils.log_level elastic.utils.process_state
elastic.utils.data.elastic_distributed_sampler elastic.utils.data.cycling_iterator
"""


def public(module: Any) -> list[str]:
    """Return its `__all__`, or else what it defines itself."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
    ]


@pytest.mark.interop
@pytest.mark.filterwarnings("ignore")  # of deprecated modules, which are meant
def test_each_public_name_of_torchelastic_has_a_row() -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    names = {f"torch.distributed.{name}" for name in MODULES.split()}
    names.add("torch.numa.binding")
    symbols = {
        f"{name}.{symbol}"
        for name in names
        for symbol in public(importlib.import_module(name))
    }

    assert len(symbols) > 150
    assert symbols - covered().keys() == set()


@pytest.mark.interop
def test_each_variable_that_torchrun_gives_a_worker_has_a_row(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason=NO_TORCH)
    worker = tmp_path / "worker.py"
    worker.write_text("import os\nfor name in os.environ: print('variable', name)\n")
    own = {
        k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LD_LIBRARY_PATH")
    }
    switches = {"TORCHELASTIC_ENABLE_FILE_TIMER": "1"}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "--virtual-local-rank", str(worker)),
        ],
        env={**own, **switches},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    given = set(re.findall(r"variable (\w+)", done.stdout)) - own.keys()

    assert len(given) > 18
    assert given - covered().keys() - {"LC_CTYPE", "KMP_INIT_AT_FORK"} == set()
