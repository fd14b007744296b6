"""What it costs to be watched: a worker's calls, and the agent that hears them all.

    python benchmarks/monitoring.py [--workers N] [--rate HERTZ] [--seconds N]

First what one call of a worker takes: its own processor time, since machines are noisy;
in a row, where its code is at hand, and after a pause, as in a training loop. Then the
processor time of an agent whose workers all beat at such a rate, beyond that of one
whose workers say nothing, in percent of one core: without monitors, and with those that
follow heartbeats. Agents are measured in turn, and the figure is the median.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from start import tool


_TICK = os.sysconf("SC_CLK_TCK")

CALLS = """
import statistics, time
from elaunch import worker
from elaunch.worker import channel

channel.BEAT_INTERVAL = 0.0

def took(call, count):
    begin = time.thread_time_ns()
    for _ in range(count):
        call()
    return (time.thread_time_ns() - begin) / count / 1000

def measure(call):
    first, following = [], []
    for _ in range(200):
        time.sleep(0.04)  # the agent has read what was said
        first.append(took(call, 1))
        following.append(took(call, 3))
    return statistics.median(following), statistics.median(first)

def section():
    with worker.section("step"):
        pass

CALLS = {
    "heartbeat(step=, step_time=)": lambda: worker.heartbeat(step=7, step_time=0.25),
    "heartbeat with a value more": lambda: worker.heartbeat(step=7, loss=0.25),
    "nothing": lambda: None,
    "section, begin and end": section,
    "progress": lambda: worker.progress(7),
}
for name, call in CALLS.items():
    print("{}: {:.1f} {:.1f}".format(name, *measure(call)), flush=True)
"""

BEATING = """
import os, sys, time
from elaunch.worker import heartbeat

folder, rate = sys.argv[1], float(sys.argv[2])
open(os.path.join(folder, "began-" + os.environ["RANK"]), "w").close()
step, due = 0, time.monotonic()
while True:
    due += 1 / rate if rate else 1.0
    time.sleep(max(0.0, due - time.monotonic()))
    step += 1
    if rate:
        heartbeat(step=step, step_time=1 / rate)
"""

MONITORS: dict[str, Sequence[str]] = {
    "without monitors": (),
    "with heartbeat, sections and straggler": (
        *("--monitor", "heartbeat:limit=600", "--monitor", "straggler"),
    ),
}


def calls(command: Sequence[str], folder: Path) -> None:
    """Measure calls, and print them."""
    script = folder / "calls.py"
    script.write_text(CALLS)
    ended = subprocess.run(
        [*command, "--standalone", str(script)],
        check=True,
        capture_output=True,
        text=True,
    )
    print(f"{'processor time of a call in µs':44} {'row':>8} {'pause':>8}")
    for line in ended.stdout.splitlines():
        name, _, times = line.rpartition(": ")
        row, pause = times.split()
        print(f"{name:44} {row:>8} {pause:>8}", flush=True)


def spent(pid: int) -> float:
    """Return the processor time of a process so far, in seconds."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / _TICK


def load(
    command: Sequence[str], folder: Path, workers: int, rate: float, seconds: float
) -> float:
    """Return the part of a core that an agent takes whose workers beat."""
    script = folder / "beating.py"
    script.write_text(BEATING)
    with tempfile.TemporaryDirectory(dir=folder) as began:
        job = ["--standalone", "--nproc-per-node", str(workers)]
        with subprocess.Popen(
            [*command, *job, str(script), began, str(rate)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as agent:
            while len(os.listdir(began)) < workers:  # noqa: PTH208 - counted often
                if agent.poll() is not None:
                    sys.exit(f"{command[0]} ended with {agent.returncode}")
                time.sleep(0.1)
            time.sleep(2.0)  # the starts are over
            before, begin = spent(agent.pid), time.perf_counter()
            time.sleep(seconds)
            taken = spent(agent.pid) - before
            taken /= time.perf_counter() - begin
            agent.send_signal(signal.SIGTERM)
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="what it costs to be watched")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    elaunch = [tool("elaunch") or "elaunch", "run", "-q"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calls(elaunch, folder)
        print(f"\n{args.workers} workers, {args.rate:g} times a second: % of a core")
        for what, flags in MONITORS.items():
            found: dict[float, list[float]] = {0.0: [], args.rate: []}
            for _ in range(args.runs):
                for rate, taken in found.items():
                    command = [*elaunch, *flags]
                    taken.append(
                        load(command, folder, args.workers, rate, args.seconds)
                    )
            silent, beating = map(statistics.median, found.values())
            print(
                f"{what:44} {(beating - silent) * 100:8.2f}"
                f"   (silent workers: {silent * 100:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
