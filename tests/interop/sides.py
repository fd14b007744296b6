"""Starts the same command line by torchrun and by elaunch; tells what came of it."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Protocol

import attrs


PROBE = Path(__file__).parent / "probe.py"

DEADLINE = 100.0
"""Seconds that one command line may take; far beyond what it takes."""


class Process(Protocol):
    """A launcher that runs, or has run."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status."""

    def kill(self) -> None:
        """End it."""


Start = Callable[[Sequence[str], Path, Mapping[str, str], IO[str], IO[str]], Process]
"""Starts a launcher: ``(words, cwd, env, stdin, output)``."""


ALONE = frozenset({"$MASTER_ADDR", "$TORCHELASTIC_RUN_ID"})
"""What differs in a job of one node that has a store and an id of its own."""

ONE_WORKER = frozenset({"$OMP_NUM_THREADS"})
"""What differs on a node of one worker."""


@attrs.frozen
class Line:
    """One command line.

    Attributes:
        words: What is typed after the launcher's name. ``@port`` stands for a free
            port, ``@node`` for the number of the node, ``@role`` and ``@count`` for its
            role and workers, ``@python`` for the interpreter, ``@here`` for the folder.
        env: Variables that are set, likewise.
        nodes: On how many nodes it is typed.
        differs: What workers see differently beside what they always do.
        status: Exit status of torchrun and of elaunch.
    """

    words: str
    env: Mapping[str, str] = attrs.field(factory=dict)
    nodes: int = 1
    differs: frozenset[str] = ALONE | ONE_WORKER
    status: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        """The command line as one would type it."""
        return " ".join([*(f"{k}={v}" for k, v in self.env.items()), self.words])


@attrs.frozen
class Outcome:
    """What came of a command line under one launcher.

    Attributes:
        statuses: Exit statuses of the launcher, one for each node.
        workers: What each worker of the last attempt saw, by attempt and rank.
        shown: What of their output came out of the launcher.
        said: All that did, for the reader of a failed test.
    """

    statuses: set[int]
    workers: Mapping[str, Mapping[str, object]]
    shown: list[str]
    said: str

    @property
    def meeting_points(self) -> set[tuple[object, ...]]:
        """What workers are told of where to meet: it should be one for all."""
        names = ("$MASTER_ADDR", "$MASTER_PORT", "$TORCHELASTIC_RUN_ID")
        return {tuple(map(seen.get, names)) for seen in self.workers.values()}


def program(*launcher: str) -> Start:
    """Return what starts a launcher as a program of its own."""

    def start(
        words: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        stdin: IO[str],
        output: IO[str],
    ) -> Process:
        return subprocess.Popen(
            [sys.executable, *launcher, *words],
            cwd=cwd,
            env=env,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    return start


ELAUNCH = program("-m", "elaunch", "run")
TORCHRUN = program("-m", "torch.distributed.run")


def run_by(line: Line, folder: Path, *launchers: Start) -> list[Outcome]:
    """Run a command line by each of these launchers, at the same time."""
    with ThreadPoolExecutor(len(launchers)) as pool:
        started = [
            pool.submit(_run, line, folder / str(number), start)
            for number, start in enumerate(launchers)
        ]
        return [future.result() for future in started]


def _run(line: Line, folder: Path, start: Start) -> Outcome:
    folder.mkdir()
    shutil.copy(PROBE, folder)
    (folder / "another-python").symlink_to(sys.executable)
    (folder / "input").touch()
    port = _free_port()
    nodes: list[Process] = []
    try:
        with (folder / "input").open() as stdin, (folder / "said").open("a") as output:
            for node in range(line.nodes):
                words = [
                    _filled(w, node, port, folder) for w in shlex.split(line.words)
                ]
                env = {k: _filled(v, node, port, folder) for k, v in line.env.items()}
                env = {**clean_environment(), **env}
                nodes.append(start(words, folder, env, stdin, output))
        for process in nodes:
            process.wait(timeout=DEADLINE)
    finally:
        for process in nodes:
            process.kill()
            process.wait()
    said = (folder / "said").read_text()
    seen = {path.stem: path for path in folder.glob("seen/*.json")}
    last = max((name.partition("-")[0] for name in seen), default="0")
    return Outcome(
        statuses={process.wait() for process in nodes},
        workers={
            name: _comparable(path.read_text(), line, folder)
            for name, path in sorted(seen.items())
            if name.startswith(f"{last}-")
        },
        shown=sorted(
            re.findall(rf"probe {last}-\d+ std(?:out|err)", _without_reports(said))
        ),
        said=said,
    )


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _filled(text: str, node: int, port: str, folder: Path) -> str:
    tokens = {
        "@port": port,
        "@node": str(node),
        "@role": ("ps", "tr")[node],
        "@count": ("2", "1")[node],
        "@python": sys.executable,
        "@here": str(folder),
    }
    for token, value in tokens.items():
        text = text.replace(token, value)
    return text


def clean_environment() -> dict[str, str]:
    """Return an environment in which nothing speaks to launchers."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _comparable(text: str, line: Line, folder: Path) -> dict[str, object]:
    """Return what a worker saw, without what only the test makes differ."""
    fields = json.loads(text.replace(str(folder), "@here"))
    given = {f"${name}": value for name, value in line.env.items() if "@" in value}
    return {**fields, **given}


def _without_reports(said: str) -> str:
    """Leave out what elaunch says of workers: it quotes them."""
    lines = said.splitlines()
    return "\n".join(line for line in lines if not line.startswith(("elaunch: ", " ")))


def differences(
    theirs: Mapping[str, object], ours: Mapping[str, object]
) -> frozenset[str]:
    """Return the names of what a worker sees differently; ours as one name."""
    nothing = object()
    names = {
        name
        for name in theirs.keys() | ours.keys()
        if theirs.get(name, nothing) != ours.get(name, nothing)
    }
    return frozenset("$ELAUNCH_*" if n.startswith("$ELAUNCH_") else n for n in names)
