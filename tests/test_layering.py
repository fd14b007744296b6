"""The laws of import: down the layers only, and plugins see only the author's face."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "src" / "elaunch"

LAYERS = (
    ("__main__", "run", "launch"),
    ("cli",),
    ("__init__",),
    ("elastic",),
    ("launcher",),
    ("agent", "plugins", "addresses", "interfaces", "blocking"),
    (
        "config",
        "options",
        "slots",
        "builtin",
        "failure_file",
        "standard_streams",
        "inventory",
        "replay",
    ),
    ("schedulers", "preflights", "endpoint"),
    ("hookspecs", "watchdog", "monitors"),
    ("api",),
    ("membership",),
    ("environ",),
    ("rendezvous", "spawner", "memory_store", "file_store", "bootstraps"),
    ("log_layout", "monitor", "preflight", "torchelastic_translation", "decisions"),
    ("restart_budget",),
    ("output",),
    (
        *("command", "bootstrap", "policy", "events", "keyspace"),
        *("workers", "binding", "devices", "signals", "accelerators", "scheduler"),
        *("metric_handler", "channel"),
    ),
    ("polling_store", "locked_document", "torchelastic_events", "failure_table"),
    ("polling",),
    (
        *("store", "provider", "errors", "notice", "metrics", "timer", "health"),
        *("feed", "worker_message", "vitals", "threads"),
    ),
    ("http_server",),
    ("failures", "templates", "explanations", "encodable", "process_state"),
    ("text", "sizes"),
)
"""From the top down: a module imports only from lines below its own.

This is `docs/design.md` section 4, with the lines of layer 6 told apart.
"""

ASIDE = {
    "worker": {"worker"},  # the standard library only
    "control_plane": {"control_plane", "worker"},  # likewise
    "data": {"data"},  # likewise
    "testing": {"testing", "api", "hookspecs", "plugins", "worker"},
    # It runs the real agent and looks into what the membership keeps in its store.
    "simulation": {
        *("testing", "api", "agent", "membership", "errors", "events", "monitor"),
        "preflight",
    },
}
PLUGIN_FACE = {"elaunch.api", "elaunch.hookspecs"}


def unit_of(path: Path) -> str:
    parts = path.relative_to(CORE).parts
    if parts[:2] == ("testing", "simulation"):
        return "simulation"
    return parts[0].removesuffix(".py")


def line_of(unit: str) -> int:
    return next(i for i, units in enumerate(LAYERS) if unit in units)


def imports(path: Path) -> Iterator[str]:
    """Yield every module of elaunch that a file names in an import, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("elaunch"))
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module == "elaunch":
                yield from (f"elaunch.{alias.name}" for alias in node.names)
            elif module.startswith("elaunch"):
                yield module


def core_unit(module: str) -> str | None:
    """Return the unit of the core that a module name means, if it is the core's."""
    parts = module.split(".")
    if parts[0] != "elaunch":
        return None
    if len(parts) == 1:
        return "__init__"
    known = {unit for units in LAYERS for unit in units} | ASIDE.keys()
    return parts[1] if parts[1] in known else "__init__"


CORE_FILES = sorted(CORE.rglob("*.py"))
PLUGIN_FILES = sorted((ROOT / "plugins").glob("*/src/**/*.py"))


@pytest.mark.parametrize("path", CORE_FILES, ids=lambda p: str(p.relative_to(CORE)))
def test_core_imports_only_from_below(path: Path) -> None:
    unit = unit_of(path)
    for module in imports(path):
        target = core_unit(module)
        assert target is not None, f"{path.name} must not import the plugin {module}"
        if unit in ASIDE:
            assert target in ASIDE[unit], f"{path.name} must not import {module}"
        elif target != unit:
            below = target not in ASIDE and line_of(target) > line_of(unit)
            workers = {"worker", "data", "control_plane"}
            facade = unit in {"__init__", "elastic"} and target in workers
            assert below or facade, f"{path.name} must not import {module}"


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=lambda p: p.name)
def test_plugins_import_only_the_authors_face(path: Path) -> None:
    own = path.relative_to(ROOT / "plugins").parts[2]
    for module in imports(path):
        allowed = module in PLUGIN_FACE or module.split(".")[0] == own
        # What runs inside a worker may use the worker's side of elaunch.
        in_worker = module.split(".")[:2] == ["elaunch", "worker"]
        assert allowed or in_worker, f"{path.name} must not import {module}"


def test_pluggy_stays_in_its_place() -> None:
    users = {
        unit_of(path) for path in CORE_FILES if "import pluggy" in path.read_text()
    }

    assert users == {"hookspecs", "plugins"}


def test_one_module_touches_the_hooks() -> None:
    users = [path.name for path in CORE_FILES if "manager.hook" in path.read_text()]

    assert users == ["loader.py"]


def test_files_hold_one_idea() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {lines}"
        for path in (*CORE_FILES, *PLUGIN_FILES)
        if (lines := len(path.read_text().splitlines())) > 400
    ]

    assert long == []


def test_every_ignore_says_why() -> None:
    bare = re.compile(r"#\s*(type: ignore(\[[a-z, -]+\])?|noqa(: [A-Z0-9, ]+)?)\s*$")
    sources = [
        path
        for folder in ("core", "plugins", "tests", "benchmarks", "examples")
        for path in (ROOT / folder).rglob("*.py")
    ]
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in sources
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if bare.search(line)
    ]

    assert len(sources) > len(CORE_FILES)
    assert found == []
