"""How long it takes to start, and what the agent costs; beside torchrun if it is here.

    python benchmarks/start.py [--runs N]

Prints one line per measurement: elaunch, torchrun, and how many times less. `torchrun`
is looked for beside this interpreter, so run it with one that has torch installed.
Everything is measured in turn in one run, because machines are noisy; the figure is the
median.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path


STAMP = "import sys, time; open(sys.argv[1], 'w').write(repr(time.time()))"
"""A worker that writes when user code began."""


def tool(name: str) -> str | None:
    """Return the path of a command beside this interpreter, or on the path."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def run(command: Sequence[str]) -> float:
    """Run to the end; return the seconds."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begin


def to_user_code(command: Sequence[str], folder: Path) -> float:
    """Return the seconds from the command to the first line of the script."""
    script, stamp = folder / "stamp.py", folder / "stamp"
    script.write_text(STAMP)
    begin = time.time()
    subprocess.run([*command, str(script), str(stamp)], check=True, capture_output=True)
    return float(stamp.read_text()) - begin


def peak_memory(command: list[str]) -> float:
    """Return the peak resident memory of the agent itself in MiB."""
    pid = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)],
    )
    _, _, usage = os.wait4(pid, 0)
    # Kilobytes on Linux, bytes on macOS.
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    return usage.ru_maxrss / unit


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    elaunch, torchrun = tool("elaunch"), tool("torchrun")
    if elaunch is None:
        sys.exit("elaunch is not installed for this interpreter: make setup")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = ("--standalone", "--nproc-per-node")
        true = ("--no-python", shutil.which("true") or "true")
        measures: list[tuple[str, str, Callable[[list[str]], float]]] = [
            ("--help", "s", lambda tool: run([tool[0], "--help"])),
            (
                "command to user code, 1 worker",
                "s",
                lambda tool: to_user_code([*tool, *flags, "1"], folder),
            ),
            (
                "whole job of 4 x true",
                "s",
                lambda tool: run([*tool, *flags, "4", *true]),
            ),
            (
                "peak memory of the agent",
                "MiB",
                lambda tool: peak_memory([*tool, *flags, "1", *true]),
            ),
        ]
        ours, theirs = [elaunch, "run", "-q"], [torchrun or ""]
        print(f"{'':36} {'elaunch':>12} {'torchrun':>12} {'ratio':>8}")
        for title, unit, measure in measures:
            mine, other = [], []
            for _ in range(runs):
                mine.append(measure(ours))
                if torchrun:
                    other.append(measure(theirs))
            line = f"{title:36} {statistics.median(mine):8.3f} {unit:3}"
            if other:
                ratio = statistics.median(other) / statistics.median(mine)
                line += f" {statistics.median(other):8.3f} {unit:3} {ratio:7.1f}x"
            print(line, flush=True)


if __name__ == "__main__":
    main()
