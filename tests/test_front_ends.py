"""Other names of ``elaunch run``, for those who come from torchrun."""

import re
import subprocess
import sys
from pathlib import Path

import pytest


ERUN = [str(Path(sys.executable).with_name("erun"))]
RUN = [sys.executable, "-m", "elaunch.run"]
LEGACY = [sys.executable, "-m", "elaunch.launch"]

SHOW = "import os, sys; print(os.environ['LOCAL_RANK'], *sys.argv[1:])"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "show.py").write_text(SHOW)
    return tmp_path


def run(
    front: list[str], *words: str, cwd: Path, status: int = 0
) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [*front, *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    return ended


def lines(ended: subprocess.CompletedProcess[str]) -> list[str]:
    return sorted(re.sub(r"^\[\d+\] ", "", line) for line in ended.stdout.splitlines())


@pytest.mark.parametrize("front", [ERUN, RUN], ids=["erun", "python -m elaunch.run"])
def test_another_name_runs_a_job(
    front: list[str], folder: Path, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.id
    ended = run(front, "--nproc_per_node", "2", "show.py", "--lr", "1", cwd=folder)

    assert lines(ended) == ["0 --lr 1", "1 --lr 1"]
    assert run(front, "--help", cwd=folder).stdout.startswith(f"usage: {name} [flags]")
    told = run(front, "--nodes", "2", "show.py", cwd=folder, status=2).stderr
    assert told.endswith(f"did you mean '--nnodes'?\n  see '{name} --help'\n")


def test_a_name_that_programs_call(folder: Path) -> None:
    code = "import elaunch.run; print(elaunch.run.main(['-q', 'show.py', 'x']))"
    ended = run([sys.executable, "-c", code], cwd=folder)

    assert ended.stdout == "0 x\n0\n"


DEPRECATED = "elaunch: this way to launch is deprecated; use 'elaunch run'\n"


def test_the_old_front_end_gives_scripts_their_local_rank(folder: Path) -> None:
    ended = run(LEGACY, "--nproc-per-node", "2", "show.py", "x", cwd=folder)

    assert lines(ended) == ["0 --local-rank=0 x", "1 --local-rank=1 x"]
    assert ended.stderr.count(DEPRECATED) == 1


def test_the_old_front_end_gives_modules_their_local_rank(folder: Path) -> None:
    assert lines(run(LEGACY, "-m", "show", "x", cwd=folder)) == ["0 --local-rank=0 x"]


@pytest.mark.parametrize("flag", ["--use-env", "--use_env"])
def test_the_old_front_end_leaves_arguments_alone_if_it_is_told_to(
    flag: str, folder: Path
) -> None:
    ended = run(LEGACY, flag, "show.py", "x", cwd=folder)

    assert lines(ended) == ["0 x"]
    assert DEPRECATED in ended.stderr
    assert run(LEGACY, flag, "--no-python", "true", cwd=folder).stdout == ""


def test_the_old_front_end_has_no_way_to_tell_programs_their_rank(folder: Path) -> None:
    ended = run(LEGACY, "--no-python", "true", cwd=folder, status=2)

    assert "error: --no-python needs --use-env" in ended.stderr
