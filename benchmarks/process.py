"""What it takes to start, restart and hold workers; beside torchrun if it is here.

    python benchmarks/process.py [--runs N] [--workers N]

Prints one line per measurement: elaunch, torchrun, and how many times less. `torchrun`
is looked for beside this interpreter, so run it with one that has torch installed;
without it the scripts that import torch are left out. Everything is measured in turn in
one run, because machines are noisy; the figure is the median.

What workers write is measured by `output.py`.
"""

import argparse
import importlib.util
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
from start import to_user_code, tool


RESTARTS = 3
"""Restarts in one run of a job, each caused by the death of one worker."""

DYING = """
import os, signal, sys, time
{imports}
began = time.time()
folder, restarts = sys.argv[1], {restarts}
count, rank = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(os.environ["RANK"])
world = int(os.environ["WORLD_SIZE"])

def note(name, value):
    path = os.path.join(folder, name)
    with open(path + ".draft", "w") as file:
        file.write(repr(value))
    os.rename(path + ".draft", path)

note(f"began-{{count}}-{{rank}}", began)
if count < restarts:
    if rank == 0:
        wanted = {{f"began-{{count}}-{{r}}" for r in range(world)}}
        while not wanted <= set(os.listdir(folder)):
            time.sleep(0.01)
        time.sleep(0.5)  # torchrun is to be at rest, too
        note(f"died-{{count}}", time.time())
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
"""
"""Workers of which rank 0 dies as often as may be, when all are there."""

MANY = """
import os, sys, time
folder, rank = sys.argv[1], os.environ["RANK"]
with open(os.path.join(folder, f"began-{rank}"), "w") as file:
    file.write(repr(time.time()))
sys.stdin.read()
time.sleep(float(sys.argv[2]))
"""
"""Workers that note when they began, and stay for a while."""


def stamps(folder: Path, pattern: str) -> list[float]:
    """Return the times that workers noted under such names."""
    return [float(path.read_text()) for path in folder.glob(pattern)]


def death_to_user_code(command: Sequence[str], imports: str) -> list[float]:
    """Return for each restart the seconds from a death until all run user code.

    The script's own imports count: user code begins after them.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "dying.py"
        script.write_text(DYING.format(imports=imports, restarts=RESTARTS))
        flags = ("--nproc-per-node", "4", "--max-restarts", str(RESTARTS))
        subprocess.run(
            [*command, *flags, str(script), name],
            check=True,
            capture_output=True,
            timeout=300,
        )
        return [
            max(stamps(folder, f"began-{count + 1}-*"))
            - stamps(folder, f"died-{count}")[0]
            for count in range(RESTARTS)
        ]


def many_workers(command: Sequence[str], workers: int) -> tuple[float, float]:
    """Start many workers.

    Returns:
        Seconds from the command until the last one runs user code, and MiB of resident
        memory of the launcher (all its processes but the workers) when they all do.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "many.py"
        script.write_text(MANY)
        flags = ("--nproc-per-node", str(workers))
        with psutil.Popen(
            [*command, *flags, str(script), name, "3"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as agent:
            begin = agent.create_time()
            while len(list(folder.glob("began-*"))) < workers:
                if agent.poll() is not None:
                    raise RuntimeError(f"{command[0]} ended with {agent.returncode}")
                psutil.wait_procs([agent], timeout=0.05)
            held = resident(agent)
        return max(stamps(folder, "began-*")) - begin, held / 2**20


def resident(agent: psutil.Process) -> int:
    """Return the resident bytes of an agent and of helpers that run no user code."""
    helpers = [p for p in agent.children() if "elaunch-fork-server" in p.cmdline()]
    return sum(process.memory_info().rss for process in (agent, *helpers))


def line(what: str, unit: str, ours: float, theirs: float | None) -> None:
    """Print one measurement."""
    ratio = f"{theirs:10.3f} {theirs / ours:8.1f}x" if theirs else f"{'-':>10}"
    print(f"{what:46} {unit:4} {ours:10.3f} {ratio}", flush=True)


def restarts(
    what: str, imports: str, runs: int, ours: Sequence[str], theirs: Sequence[str]
) -> None:
    """Measure restarts of both in turn, and print the medians."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(runs):
        found[True] += death_to_user_code(ours, imports)
        if theirs:
            found[False] += death_to_user_code(theirs, imports)
    other = statistics.median(found[False]) if theirs else None
    line(what, "s", statistics.median(found[True]), other)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="start, restart and hold workers")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=64)
    arguments = parser.parse_args()
    runs: int = arguments.runs
    torchrun = tool("torchrun")
    ours = [tool("elaunch") or "elaunch", "run"]
    theirs = [torchrun] if torchrun else []
    print(f"{'':46} {'':4} {'elaunch':>10} {'torchrun':>10} {'less':>9}")

    def median(measure: Callable[[Sequence[str]], float]) -> None:
        values = [
            statistics.median(measure(command) for _ in range(runs))
            for command in (ours, theirs)
            if command
        ]
        line("command to user code", "s", values[0], (*values, None)[1])

    with tempfile.TemporaryDirectory() as folder:
        median(lambda command: to_user_code(command, Path(folder)))
    restarts("death to user code, 4 workers", "", runs, ours, theirs)
    warm = [*ours, "--start-method", "warm"]
    restarts("  the same, warm", "", runs, warm, [])
    if importlib.util.find_spec("torch"):
        imports = "import torch"
        restarts("  with import torch", imports, 1, ours, theirs)
        warm += ["--preload", "torch"]
        restarts("  with import torch, warm", imports, runs, warm, theirs)
    workers: int = arguments.workers
    begun, held = many_workers(ours, workers)
    other = many_workers(theirs, workers) if theirs else (None, None)
    line(f"command to user code of {workers} workers", "s", begun, other[0])
    line(f"memory of the launcher of {workers} workers", "MiB", held, other[1])


if __name__ == "__main__":
    main()
