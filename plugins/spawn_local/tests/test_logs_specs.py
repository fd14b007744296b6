"""Plugins for torchelastic choose the files, from a distribution that is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from elaunch.testing.groups import SOON


PLUGIN = """
import os
from pathlib import Path

class Dest:
    def __init__(self, **facts):
        self.__dict__.update(facts)

class Specs:
    def __init__(self, log_dir=None, redirects=0, tee=0, local_ranks_filter=None):
        self.root = Path(log_dir)
        self.root.mkdir(exist_ok=True)
        given = (int(redirects), tee, local_ranks_filter)
        (self.root / "given").write_text(repr(given))

    def reify(self, envs):
        run_id, generation = "TORCHELASTIC_RUN_ID", "ELAUNCH_GENERATION"
        run = self.root / f"{envs[0][run_id]}-{envs[0][generation]}"
        run.mkdir()
        names = {rank: str(run / f"rank{env['RANK']}") for rank, env in envs.items()}
        return Dest(
            stdouts={rank: f"{name}.out" for rank, name in names.items()},
            stderrs={0: "", 1: f"{names[1]}.err"},
            tee_stdouts={0: f"{names[0]}.out"},
            tee_stderrs={},
            error_files={rank: f"{name}.json" for rank, name in names.items()},
            filtered_stdout=str(run / "filtered"),
            filtered_stderr="",
        )

class Broken:
    def __init__(self, **given):
        raise ValueError("no luck")

class Torn(Specs):
    def reify(self, envs):
        raise KeyError("no place")
"""

WORKER = """
import os, sys
print("out", os.environ["RANK"])
print("err", os.environ["RANK"], file=sys.stderr)
if sys.argv[1:] == ["fail"] and os.environ["RANK"] == "1":
    from elaunch.worker import record
    @record
    def main():
        raise ValueError("as planned")
    main()
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory of packages with one distribution in it."""
    site = tmp_path / "site"
    facts = site / "acme_logs-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "acme_logs.py").write_text(PLUGIN)
    (facts / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-logs\nVersion: 1.0\n"
    )
    (facts / "entry_points.txt").write_text(
        "[torchrun.logs_specs]\n"
        "acme = acme_logs:Specs\nbroken = acme_logs:Broken\ntorn = acme_logs:Torn\n"
    )
    (tmp_path / "worker.py").write_text(WORKER)
    return site


def run(site: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(sys.executable, "-m", "elaunch", "run", "-q", "--standalone"),
            *("--nproc-per-node", "2", "--bootstrap", "none", *words),
        ],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=site.parent,
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )


def test_streams_go_where_the_plugin_says(site: Path) -> None:
    flags = ("--logs-specs", "acme", "--log-dir", "logs", "--rdzv-id", "job")
    more = ("-r", "1", "-t", "0:1", "--local-ranks-filter", "0,1")
    needles = ("--duplicate-stdout-filters", "out 1")
    ended = run(site, *flags, *more, *needles, "worker.py")

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "[0] out 0\n"
    assert ended.stderr == "[0] err 0\n"
    folder = site.parent / "logs" / "job-1"
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "rank0.out": "out 0\n",
        "rank1.out": "out 1\n",
        "rank1.err": "err 1\n",
        "filtered": "[1] out 1\n",
    }
    given = (site.parent / "logs" / "given").read_text()
    assert given == "(1, {0: <Std.OUT: 1>}, {0, 1})"


def test_an_error_file_is_kept_where_the_plugin_says(site: Path) -> None:
    flags = ("--logs-specs", "acme", "--log-dir", "logs", "--rdzv-id", "job")
    ended = run(site, *flags, "worker.py", "fail")

    assert ended.returncode == 1
    assert "ValueError: as planned" in ended.stderr
    kept = (site.parent / "logs" / "job-1" / "rank1.json").read_text()
    assert "as planned" in kept


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("acmee", 3, "'acmee'; installed in the entry-point group"),
        ("acmee", 3, "'torchrun.logs_specs': 'acme', 'broken', "),
        ("broken", 3, "'broken' of acme-logs 1.0 failed: ValueError: no luck"),
        ("torn", 5, "'torn' failed to choose files: KeyError: 'no place'"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_told(
    site: Path, name: str, code: int, words: str
) -> None:
    ended = run(site, "--logs-specs", name, "--log-dir", "logs", "worker.py")

    assert ended.returncode == code
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
