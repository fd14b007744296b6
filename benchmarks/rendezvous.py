"""How long nodes take to meet, to meet again and to come back; beside torchrun's.

    python benchmarks/rendezvous.py [--nodes 2 8 ...] [--virtual 8 ...] [--no-torch]

Each row is one act of a job of so many nodes, whose agents' own code runs in one
process over real sockets, with the store in its thread as on a real host:

- form: from nothing to a sealed generation on every node;
- restart: from the failure of one node to the next generation on every node;
- reset: from the break of all connections at once until every node is back.

The figure is the median of a few runs. The garbage collector rests, as in timeit: half
of the time of 4,000 nodes would be its looks at all of them, and an agent is alone in
its process. Operations are calls of the store port and bytes are what the kernel
counted on the nodes' sockets, both divided by the nodes. The rendezvous handler of
torchrun runs in a process of its own with this interpreter, one thread for each node.

The last rows are under virtual time, over the simulated store: they show that what a
node does and hears does not grow with the job.
"""

import argparse
import asyncio
import gc
import os
import queue
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import attrs
from rendezvous_job import ACTS, FORM, RESET, RESTART, Act, Loop, free_port, play
from rendezvous_virtual import VirtualJob


NODES = (2, 8, 32, 64, 256, 1_000, 4_000)
VIRTUAL = (8, 1_000, 16_384)
TORCH_MOST = 64
"""Most nodes that torchrun's handler is asked for; 128 don't finish in ten minutes."""
TORCH_LIMIT = 120.0
"""Seconds after which an act of torchrun's is cut off."""
SPARE_DESCRIPTORS = 64
"""What the process needs beside two descriptors a node: one for each end."""


def elaunch(size: int, runs: int) -> dict[str, Act]:
    """Return the acts of a job of ours: of each the run with the median time."""
    played = []
    for _ in range(runs):
        gc.collect()
        gc.disable()
        with asyncio.Runner(loop_factory=Loop) as runner:
            played.append(runner.run(play(size)))
        gc.enable()
    return {act: _median([acts[act] for acts in played]) for act in ACTS}


def _median(acts: Sequence[Act]) -> Act:
    return sorted(acts, key=lambda act: act.seconds)[len(acts) // 2]


def virtual(size: int) -> Iterator[str]:
    """Measure under virtual time and return a line for each act."""
    gc.collect()
    gc.disable()
    acts = VirtualJob(size).play()
    gc.enable()
    for name, act in acts.items():
        yield (
            f"{size:7,} {name:8} {act.seconds:10.3f} {'':>10} {'':>7} "
            f"{act.operations:9.1f} {'':>9} {act.received:9,.0f} {act.note}"
        )


@attrs.frozen
class Theirs:
    """What one act cost torchrun's handler.

    Attributes:
        seconds: How long it took.
        requests: Of each node, for a backend over HTTP.
        bytes: Of each node, likewise.
    """

    seconds: float
    requests: float
    bytes: float


def torchrun(size: int, backend: str, endpoint: str, run_id: str) -> dict[str, Theirs]:
    """Return what the acts cost that torchrun's handler did within the limit."""
    script = Path(__file__).with_name("rendezvous_torch.py")
    arguments = (backend, endpoint, run_id, str(size))
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(script), *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    acts: dict[str, Theirs] = {}
    try:
        _next_line(lines, TORCH_LIMIT)  # it has imported torch
        for act in (FORM, RESTART):
            costs = map(float, _next_line(lines, TORCH_LIMIT).split())
            acts[act] = Theirs(*costs)
    except queue.Empty:
        return acts
    finally:
        process.kill()
        process.wait()
    return acts


def _next_line(lines: "queue.Queue[str]", timeout: float) -> str:
    line = lines.get(timeout=timeout)
    if not line:
        raise RuntimeError("torchrun's handler failed; its output is above")
    return line


def rows(size: int, runs: int, *, torch: bool) -> Iterator[str]:
    """Measure with so many nodes and return a line for each act."""
    ours = elaunch(size, runs)
    endpoint = f"127.0.0.1:{free_port()}"
    theirs = torchrun(size, "c10d", endpoint, "benchmark") if torch else {}
    for name, act in ours.items():
        beside = ratio = ""
        if torch and name in theirs:
            beside = f"{theirs[name].seconds:.3f}"
            ratio = f"{theirs[name].seconds / act.seconds:.0f}x"
        elif torch and name != RESET:
            beside = f"> {TORCH_LIMIT:.0f}"
            ratio = f"> {TORCH_LIMIT / act.seconds:.0f}x"
        yield (
            f"{size:7,} {name:8} {act.seconds:10.3f} {beside:>10} {ratio:>7} "
            f"{act.operations:9.1f} {act.sent:9,.0f} {act.received:9,.0f} {act.note}"
        ).rstrip()


def allow_descriptors() -> int:
    """Raise the limit of open descriptors as far as we may; return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return sys.maxsize if most == resource.RLIM_INFINITY else most


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES)
    parser.add_argument("--virtual", type=int, nargs="*", default=VIRTUAL)
    parser.add_argument("--runs", type=int, help="runs for each number of nodes")
    parser.add_argument("--no-torch", action="store_true")
    arguments = parser.parse_args()
    torch = not arguments.no_torch
    if torch and find_spec("torch") is None:
        print("no torch here, so nothing beside it: make test-interop installs it")
        torch = False
    allowed = allow_descriptors()
    print(f"{os.cpu_count()} cores, load {load()}")
    print(
        f"{'nodes':>7} {'act':8} {'elaunch s':>10} {'torchrun s':>10} {'ratio':>7} "
        f"{'ops/node':>9} {'sent/node':>9} {'rcvd/node':>9}"
    )
    for size in arguments.nodes:
        needed = 2 * size + SPARE_DESCRIPTORS
        if needed > allowed:
            print(f"{size:7,} needs {needed:,} descriptors; {allowed:,} are allowed")
            continue
        runs = arguments.runs or (5 if size <= TORCH_MOST else 3)
        for row in rows(size, runs, torch=torch and size <= TORCH_MOST):
            print(row, flush=True)
    for size in arguments.virtual:
        for row in virtual(size):
            print(row, flush=True)
    print(f"load {load()}")


def load() -> str:
    """Return the load of this machine lately."""
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


if __name__ == "__main__":
    main()
