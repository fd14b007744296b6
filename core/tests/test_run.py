import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from elaunch.cli.run import config_of, entry_of
from elaunch.cli.settings import resolve
from elaunch.errors import UsageError
from elaunch.workers import CommandEntry


def test_rdzv_conf_may_be_given_several_times() -> None:
    flags = ("--rdzv-conf", "a=1,b=2", "--rdzv-conf", "c=3,a=4")

    config = config_of(resolve([*flags, "train.py"], {}))

    assert config.rdzv_configs == {"a": "4", "b": "2", "c": "3"}


def test_env_may_be_given_several_times() -> None:
    flags = ("--env", "A=1", "--env", "B=x=y", "--env", "A=2", "--env", "C=")

    assert config_of(resolve([*flags, __file__], {})).env == {
        "A": "2",
        "B": "x=y",
        "C": "",
    }


def test_where_workers_run_is_part_of_the_configuration() -> None:
    config = config_of(
        resolve(
            [
                *("--numa-binding", "core-complex", "--threads", "3"),
                *("--virtual-local-rank", "--device-variable", "X", __file__),
            ],
            {},
        )
    )

    assert config.numa_binding == "core-complex"
    assert config.threads == 3
    assert config.virtual_local_rank
    assert config.device_variables == ("X",)


def test_signals_and_the_exit_barrier_are_part_of_the_configuration() -> None:
    flags = ("--signals-to-handle", "SIGTERM", "--exit-barrier-timeout", "2.5")
    config = config_of(resolve([*flags, __file__], {}))

    assert config.signals_to_handle == "SIGTERM"
    assert config.exit_barrier_timeout == 2.5
    by_name = resolve([__file__], {"TORCH_ELASTIC_EXIT_BARRIER_TIMEOUT": "3"})
    assert config_of(by_name).exit_barrier_timeout == 3


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (
            [],
            {"PET_NPROC_PER_NODE": "0"},
            "nproc_per_node must be at least 1, not 0 (PET_NPROC_PER_NODE says so)",
        ),
        (
            [],
            {"PET_MAX_RESTARTS": "-1"},
            "max_restarts must not be negative, not -1 (PET_MAX_RESTARTS says so)",
        ),
        (
            [],
            {"ELAUNCH_TEE": "7"},
            (
                "--tee: streams are 0 (none), 1 (stdout), 2 (stderr) or 3 (both), or a "
                "list by local rank, for example 0:1,1:3, not '7' (ELAUNCH_TEE says so)"
            ),
        ),
        (
            ["--nproc-per-node", "0"],
            {},
            "nproc_per_node must be at least 1, not 0",
        ),
        (
            [],
            {"PET_STANDALONE": "1", "PET_NNODES": "2"},
            (
                "--standalone means this node alone, with a store of its own; leave "
                "out --standalone, or PET_NNODES (PET_STANDALONE says so)"
            ),
        ),
        (
            [],
            {"ELAUNCH_NPROC_PER_NODE": "many"},
            (
                "ELAUNCH_NPROC_PER_NODE 'many' is unsupported: it is a number or one "
                "of 'auto', 'cpu', 'gpu', 'npu', 'xpu'"
            ),
        ),
    ],
)
def test_an_error_names_who_said_what_is_wrong(
    words: list[str], environment: dict[str, str], message: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "elaunch", "run", *words, __file__],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr == f"elaunch: error: {message}\n"


def test_verbose_tells_what_was_not_typed_but_no_values(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("script = 'x.py'\nmax-restarts = 2")
    (tmp_path / "x.py").write_text("")
    ended = subprocess.run(
        [sys.executable, "-m", "elaunch", "run", "-v", "--config", "job.toml"],
        env={"PET_NNODES": "1", "ELAUNCH_ENV": "KEY=secret"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert (
        "settings from elsewhere: nnodes (PET_NNODES), max_restarts (job.toml), "
        "env (ELAUNCH_ENV), script (job.toml), args (job.toml)\n"
    ) in ended.stderr
    assert "secret" not in ended.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], True),
        (["--config", "pyproject.toml"], False),
        (["--config", ""], False),
        (["--max-restarts", "1"], False),
        (["-q"], False),
    ],
)
def test_a_project_that_nobody_named_is_told_of(
    words: list[str],
    told: bool,  # noqa: FBT001 - a table of words and whether it is told
    tmp_path: Path,
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.elaunch]\nmax-restarts = 2")
    (tmp_path / "x.py").write_text("")
    ended = subprocess.run(
        [sys.executable, "-m", "elaunch", "run", *words, "x.py"],
        env={},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    line = "elaunch: the table 'tool.elaunch' of pyproject.toml gives max_restarts\n"
    assert (line in ended.stderr) is told
    assert ("pyproject.toml" in ended.stderr) is told


def test_metrics_and_health_are_part_of_the_configuration() -> None:
    flags = ("--metrics", "console", "--health-check", "127.0.0.1:8000")
    config = config_of(resolve([*flags, __file__], {}))

    assert config.metrics_cfg == {"handler": "console"}
    assert config.health_check == "127.0.0.1:8000"
    assert config_of(resolve([__file__], {})).metrics_cfg == {}


@pytest.mark.parametrize(
    ("words", "level", "told"),
    [
        ([], "info", True),
        ([], "ERROR", False),
        ([], "loud", False),
        (["-q"], "INFO", False),
        (["-v"], "ERROR", True),
    ],
)
def test_torchruns_variable_says_what_is_logged(
    words: list[str],
    level: str,
    told: bool,  # noqa: FBT001 - a table of levels and what they show
    tmp_path: Path,
) -> None:
    (tmp_path / "x.py").write_text("")
    ended = subprocess.run(
        [sys.executable, "-m", "elaunch", "run", *words, "x.py"],
        env={"LOGLEVEL": level, "PET_NNODES": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert ("settings from elsewhere" in ended.stderr) is told


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        (["x.py", "-a"], ("py", "-u", "x.py", "-a")),
        (["-m", "x.y", "-a"], ("py", "-u", "-m", "x.y", "-a")),
    ],
)
def test_another_interpreter_may_be_named(
    words: list[str],
    argv: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.py").write_text("")
    args = resolve(words, {}).args

    entry = entry_of(args, {"PYTHON_EXEC": "py"})

    assert isinstance(entry, CommandEntry)
    assert entry.argv == argv
    assert not isinstance(entry_of(args, {}), CommandEntry)
    assert not isinstance(entry_of(args, {"PYTHON_EXEC": ""}), CommandEntry)


def test_another_interpreter_can_use_nothing_that_was_preloaded() -> None:
    words = ["--start-method", "warm", "--preload", "re", __file__]

    with pytest.raises(UsageError, match=r"PYTHON_EXEC has 'py' run the script"):
        entry_of(resolve(words, {}).args, {"PYTHON_EXEC": "py"})


def test_another_interpreter_runs_the_script(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nMINE=yes exec {sys.executable} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    script = tmp_path / "x.py"
    script.write_text("import os; print(os.environ['MINE'])")
    ended = subprocess.run(
        [sys.executable, "-m", "elaunch", "run", "-q", str(script)],
        env={**os.environ, "PYTHON_EXEC": str(python)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout == "yes\n"
