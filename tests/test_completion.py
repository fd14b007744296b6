"""Shells complete what `elaunch completion` prints for them: real shells."""

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import forks
import pytest


DEADLINE = 120.0


def script_for(shell: str, folder: Path) -> Path:
    printed = forks.run(["completion", shell])
    assert (printed.returncode, printed.stderr) == (0, "")
    path = folder / f"completion.{shell}"
    path.write_text(printed.stdout)
    return path


def shell(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"needs {name}")
    return found


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shell("bash")
    return script_for("bash", tmp_path_factory.mktemp("bash"))


ASK_BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_elaunch
printf '%s\\n' "${COMPREPLY[@]}"
complete -p elaunch erun >&2
"""


def bash_completes(script: Path, *words: str) -> list[str]:
    asked = subprocess.run(
        ["bash", "-uc", ASK_BASH, "bash", str(script), *words],  # noqa: S607 - the user's bash is meant
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert asked.stderr.splitlines() == [
        f"complete -o default -F _elaunch {name}" for name in ("elaunch", "erun")
    ]
    return asked.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["elaunch", "ru"], ["run"]),
        (["elaunch", "--v"], ["--version"]),
        (["elaunch", "run", "--nn"], ["--nnodes"]),
        (["/x/bin/elaunch", "run", "--nn"], ["--nnodes"]),
        (["erun", "--nn"], ["--nnodes"]),
        (["erun", "--standalone", "--master-"], ["--master-addr", "--master-port"]),
        (["erun", "--nnodes", "2", "--max-r"], ["--max-restarts"]),
        (["erun", "--nnodes", "=", "2", "--max-r"], ["--max-restarts"]),
        (["erun", "--nnodes", "--max-r"], []),
        (["erun", "--start-method", "fork"], ["fork", "forkserver"]),
        (["erun", "--start-method", "=", "w"], ["warm"]),
        (["erun", "--start-method", "="], ["spawn", "fork", "forkserver", "warm"]),
        (["erun", "--rdzv-backend", "etcd"], ["etcd", "etcd-v2"]),
        (["elaunch", "explain", "--spawner", ""], ["local"]),
        (["erun", "train.py", "--nn"], []),
        (["erun", "-m", "train", "--nn"], []),
        (["erun", "tr"], []),
        (["elaunch", "plugins", "--js"], ["--json"]),
        (["elaunch", "completion", "z"], ["zsh"]),
        (["elaunch", "etcd", "--po"], []),
    ],
    ids=" ".join,
)
def test_bash_completes(bash: Path, words: list[str], offered: list[str]) -> None:
    assert bash_completes(bash, *words) == offered


def test_bash_knows_commands_of_plugins(bash: Path) -> None:
    offered = bash_completes(bash, "elaunch", "")

    assert {"run", "plugins", "completion", "etcd", "--help"} <= set(offered)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("elaunch ru", "run"),
        ("elaunch run --nn", "--nnodes"),
        ("erun --nn", "--nnodes"),
        ("elaunch completion z", "zsh"),
        ("erun --start-method wa", "warm"),
        ("elaunch run --event-recorder js", "jsonl"),
    ],
)
def test_fish_completes(line: str, offered: str, tmp_path: Path) -> None:
    fish = shell("fish")
    script = script_for("fish", tmp_path)
    asked = subprocess.run(
        [fish, "--no-config", "-c", f"source {script}; complete -C '{line}'"],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    assert [said.split("\t")[0] for said in asked.stdout.splitlines()] == [offered]
    assert asked.stderr == ""


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("elaunch pl", "elaunch plugins "),
        ("elaunch run --nn", "elaunch run --nnodes "),
        ("erun --standalone --nn", "erun --standalone --nnodes "),
        ("erun --start-method wa", "erun --start-method warm "),
        ("elaunch completion z", "elaunch completion zsh "),
        ("erun --rdzv-backend sta", "erun --rdzv-backend static "),
    ],
)
def test_zsh_completes(typed: str, completed: str, tmp_path: Path) -> None:
    zsh = shell("zsh")
    script = script_for("zsh", tmp_path)
    (tmp_path / ".zshrc").write_text(
        f"unset zle_bracketed_paste; unsetopt prompt_sp; autoload -Uz compinit\n"
        f"compinit -D -u; source {script}; PS1=READY\n"
        f'elaunch() {{ echo "GOT<$*>" }}; erun() {{ echo "GOT<$*>" }}\n'
    )
    environment = {"HOME": str(tmp_path), "TERM": "dumb"}
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(zsh, [zsh, "-d", "-i"], environment)  # noqa: S606 - the child of a pseudo-terminal
    try:
        read_until(terminal, r"READY")
        os.write(terminal, f"{typed}\t\n".encode())
        (got,) = re.findall(r"GOT<(.*)>", read_until(terminal, r"GOT<.*>"))
        assert got == completed.partition(" ")[2].rstrip()
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


def read_until(terminal: int, pattern: str) -> str:
    said, deadline = "", time.monotonic() + DEADLINE
    while not re.search(pattern, said):
        left = deadline - time.monotonic()
        assert left > 0, said
        if select.select([terminal], [], [], left)[0]:
            said += os.read(terminal, 65536).decode(errors="replace")
    return said
