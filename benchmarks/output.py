"""What it costs to carry workers' lines to the console, and whether any is lost.

    python benchmarks/output.py [--lines N] [--workers N] [--flags "FLAGS"] [TOOL ...]

Each worker writes its lines one by one. Prints, for each TOOL (a path of `elaunch`; by
default the one beside this interpreter): lines a second of the whole job, the processor
time of the agent for each line beyond that of a job that prints nothing, how many lines
came torn, twice or not at all, and that time as a multiple of the first tool's. Tools
are measured in turn in one run, because machines are noisy; the figure is the median.
"""

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import attrs


WORKER = """
import os, sys
rank = int(os.environ["RANK"])
write = sys.stdout.write
for number in range(int(sys.argv[1])):
    write(f"rank {rank} line {number:07} of the log of one worker, as long as most\\n")
"""

_TICK = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Run:
    """One run of one tool.

    Attributes:
        rate: Lines a second.
        spent: Seconds of the agent's own processor time.
        wrong: Lines that are missing, torn, twice or out of order.
    """

    rate: float
    spent: float
    wrong: int


def measure(command: list[str], folder: Path, workers: int, lines: int) -> Run:
    """Run one job whose console is a pipe, as in a batch system."""
    script, log = folder / "worker.py", folder / "console"
    script.write_text(WORKER)
    each = lines // workers
    begin = time.perf_counter()
    with log.open("wb") as kept:
        agent = subprocess.Popen(
            [*command, str(script), str(each)], stdout=subprocess.PIPE
        )
        cat = shutil.which("cat") or "cat"
        reader = subprocess.Popen([cat], stdin=agent.stdout, stdout=kept)
        os.waitid(os.P_PID, agent.pid, os.WEXITED | os.WNOWAIT)
        seconds = time.perf_counter() - begin
        # It is a zombie now: its own time is still there, without its children's.
        stat = Path(f"/proc/{agent.pid}/stat").read_text().rpartition(")")[2].split()
        spent = (int(stat[11]) + int(stat[12])) / _TICK
        agent.stdout.close() if agent.stdout else None
        if agent.wait() or reader.wait():
            sys.exit(f"{command[0]} failed")
    written = each * workers
    return Run(written / seconds, spent, wrong(log, workers, each))


def wrong(log: Path, workers: int, each: int) -> int:
    """Count the lines that are not as they were written."""
    text = "rank {} line {:07} of the log of one worker, as long as most"
    due = [0] * workers
    found = bad = 0
    with log.open() as lines:
        for line in lines:
            prefix, _, rest = line.rstrip("\n").partition(" ")
            rank = int(prefix.strip("[]")) if prefix.strip("[]").isdigit() else -1
            if 0 <= rank < workers and rest == text.format(rank, due[rank]):
                due[rank] += 1
                found += 1
            else:
                bad += 1
    return bad + workers * each - found


def spent_by(runs: Sequence[Run]) -> float:
    """Return the median of the processor time."""
    return statistics.median(run.spent for run in runs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--flags", default="", help="more flags for 'elaunch run'")
    parser.add_argument("tools", nargs="*", metavar="TOOL")
    args = parser.parse_args()
    tools = args.tools or [str(Path(sys.executable).with_name("elaunch"))]
    found: dict[str, list[Run]] = {tool: [] for tool in tools}
    idle: dict[str, list[Run]] = {tool: [] for tool in tools}
    flags = [*("--standalone", "--nproc-per-node", str(args.workers))]
    flags += shlex.split(args.flags)
    with tempfile.TemporaryDirectory() as name:
        for _ in range(args.runs):
            for tool, runs in found.items():
                command = [tool, "run", "-q", *flags]
                runs.append(measure(command, Path(name), args.workers, args.lines))
                idle[tool].append(measure(command, Path(name), args.workers, 0))
    costs = {
        tool: (spent_by(found[tool]) - spent_by(idle[tool])) / args.lines * 1e6
        for tool in tools
    }
    for tool, runs in found.items():
        rate = statistics.median(run.rate for run in runs)
        lost = sum(run.wrong for run in runs)
        line = f"{rate:10,.0f} lines/s {costs[tool]:7.3f} us/line {lost:6} wrong"
        ratio = costs[tool] / costs[tools[0]]
        print(f"{line} {ratio:5.1f}x  {tool}", flush=True)


if __name__ == "__main__":
    main()
