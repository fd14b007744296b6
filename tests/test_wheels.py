"""Wheels of the five distributions, and what each choice of them can do.

The wheels are installed into folders of their own. The interpreter runs isolated and
without site, so that it sees those folders and a few libraries, not this checkout.
"""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent
FOLDERS = ("core", *(f"plugins/{p.name}" for p in (ROOT / "plugins").iterdir()))
LIBRARIES = ("attr", "attrs", "msgspec", "pluggy", "psutil", "cloudpickle")

MAIN = """
import sys
sys.path[:0] = {path!r}
from elaunch.cli import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Build all five; return each by its folder."""
    target = tmp_path_factory.mktemp("wheels")
    found = {}
    for folder in FOLDERS:
        before = set(target.iterdir())
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
                *("--no-build-isolation", "--disable-pip-version-check"),
                *("--wheel-dir", str(target), str(ROOT / folder)),
            ],
            check=True,
            timeout=120,
        )
        (found[folder],) = set(target.iterdir()) - before
    return found


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, wheels: Mapping[str, Path]) -> Run:
    """Run a command with only these distributions installed."""
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for name in LIBRARIES:
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).parent
        (libraries / name).symlink_to(source)

    def start(
        folders: tuple[str, ...], *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        site = tmp_path / "site"
        for folder in folders:
            zipfile.ZipFile(wheels[folder]).extractall(site)
        code = MAIN.format(path=[str(site), str(libraries)])
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return start


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_wheel_is_typed_and_holds_no_tests(
    wheels: Mapping[str, Path], folder: str
) -> None:
    names = zipfile.ZipFile(wheels[folder]).namelist()

    assert any(name.endswith("/py.typed") for name in names)
    assert not [name for name in names if "/tests/" in name or "test_" in name]


def test_the_core_alone_tells_what_is_missing_and_how_to_get_it(run: Run) -> None:
    ended = run(("core",), "plugins", "--json")
    rows = json.loads(ended.stdout)
    missing = {(r["kind"], r["name"]): r["reason"] for r in rows if not r["plugin"]}

    present = {r["name"] for r in rows if r["status"] == "ok"}
    own = {"file", "none", "port", "jax", "default", "timer", "console", "null"}
    own |= {"mpi", "slurm", "pbs", "kubernetes"}
    own |= {"heartbeat", "sections", "straggler", "deadline", "output"}
    own |= {"disk", "memory", "clock", "endpoint", "command"}
    assert present == own
    assert {r["status"] for r in rows} == {"ok", "missing"}
    assert missing["rendezvous", "c10d"] == "to get it: pip install elaunch-rdzv-c10d"
    assert missing["spawner", "local"] == "to get it: pip install elaunch-spawn-local"
    assert len(missing) == 13


def test_the_core_alone_refuses_to_run_with_the_pip_line(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "ok.py").write_text("pass")
    ended = run(("core",), "run", "--standalone", "ok.py")

    assert ended.returncode == 3
    assert "pip install elaunch-" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_core_rendezvous_and_spawner_run_a_job(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ok.py").write_text("print('ran')")
    chosen = ("core", "plugins/rdzv_c10d", "plugins/spawn_local")
    ended = run(chosen, "run", "--standalone", "ok.py")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "ran\n"


def test_a_job_without_recorders_tells_where_they_are(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ok.py").write_text("pass")
    chosen = ("core", "plugins/rdzv_c10d", "plugins/spawn_local")
    ended = run(chosen, "run", "--standalone", "--event-recorder", "jsonl", "ok.py")

    assert ended.returncode == 3
    assert "pip install elaunch-events-log" in ended.stderr
