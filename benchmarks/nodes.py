"""Nodes of one job as real processes, with all that they and their workers say.

The agents write their events into the pipe that their workers' lines come through, so
that one reader for each node hears both, in order and at once.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import psutil


DEADLINE = 60.0
"""Seconds that anything may take before the benchmark gives up."""

WORKER = """
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
names = ("ELAUNCH_GENERATION", "RANK", "WORLD_SIZE", "ELAUNCH_RESTART_COUNT")
facts = [os.environ[name] for name in names]
facts.append(":".join(os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT")))
print("begins", repr(time.time()), *facts, flush=True)
signal.sigwait({signal.SIGTERM})
print("is_told", repr(time.time()), *facts, flush=True)
os._exit(128 + signal.SIGTERM)
"""
"""A worker that says where it stands when it begins and when it is told to stop."""

LINE = re.compile(
    r"(begins|is_told) ([\d.]+) (\d+) (\d+) (\d+) (\d+) (\S+)$",
)

_Found = TypeVar("_Found")


@attrs.frozen
class Said:
    """One line of a worker."""

    node: str
    what: str
    time: float
    generation: int
    rank: int
    size: int
    restarts: int
    endpoint: str


@attrs.frozen
class Happened:
    """One event of an agent."""

    node: str
    name: str
    time: float
    facts: Mapping[str, Any]


@attrs.define(eq=False)
class Node:
    """One agent and its workers.

    Attributes:
        name: What it is called in reports.
        process: The agent.
        said: What its workers said, in order.
        events: What its agent recorded, in order.
        rest: All its other lines.
    """

    name: str
    process: "subprocess.Popen[str]"
    came: threading.Condition
    said: list[Said] = attrs.field(factory=list, init=False)
    events: list[Happened] = attrs.field(factory=list, init=False)
    rest: list[str] = attrs.field(factory=list, init=False)
    reader: threading.Thread = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def power_off(self) -> float:
        """Kill agent and workers without goodbye; return when."""
        workers = psutil.Process(self.process.pid).children(recursive=True)
        begin = time.time()
        self.process.kill()
        for worker in workers:
            # The kernel may have been faster: on Linux they die with their agent.
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        self.end()
        return begin

    def terminate(self) -> float:
        """Tell the agent to stop, as a scheduler does; return when."""
        begin = time.time()
        self.process.terminate()
        return begin

    def end(self) -> None:
        """Wait for the end of the process and of what it says."""
        self.process.wait(DEADLINE)
        self.reader.join(DEADLINE)

    def happened(self, name: str, since: float = 0.0) -> list[Happened]:
        """Return its events of a name."""
        return [
            event
            for event in tuple(self.events)
            if event.name == name and event.time >= since
        ]

    def _read(self) -> None:
        for line in self.process.stdout or ():
            with self.came:
                self._take(line.rstrip("\n"))
                self.came.notify_all()

    def _take(self, line: str) -> None:
        if line.startswith("{"):
            event = json.loads(line)
            self.events.append(
                Happened(
                    self.name, event["name"], event["timestamp"], event["metadata"]
                )
            )
        elif found := LINE.search(line):
            what, when, *numbers = found.groups()[:-1]
            generation, rank, size, restarts = map(int, numbers)
            self.said.append(
                Said(
                    node=self.name,
                    what=what,
                    time=float(when),
                    generation=generation,
                    rank=rank,
                    size=size,
                    restarts=restarts,
                    endpoint=found.groups()[-1],
                )
            )
        else:
            self.rest.append(line)


@attrs.define(eq=False)
class Job:
    """A job whose nodes come and go.

    Attributes:
        folder: Where its worker script lies.
        flags: Flags of `elaunch run`, the same on each node.
        nodes: The nodes that are there.
    """

    folder: Path
    flags: Sequence[str]
    nodes: list[Node] = attrs.field(factory=list, init=False)
    gone: list[Node] = attrs.field(factory=list, init=False)
    _came: threading.Condition = attrs.field(factory=threading.Condition, init=False)

    def start(self) -> Node:
        """Start one more node."""
        script = self.folder / "worker.py"
        script.write_text(WORKER)
        name = f"n{len(self.nodes) + len(self.gone) + 1}"
        node = Node(name, self._spawn(*self.flags, str(script)), self._came)
        self.nodes.append(node)
        return node

    def remove(self, node: Node) -> None:
        """Count a node out: it was killed or told to leave."""
        self.nodes.remove(node)
        self.gone.append(node)

    def wait(self, what: str, look: Callable[[], _Found | None]) -> _Found:
        """Wait until there is something to see.

        Raises:
            TimeoutError: If there never is; tells what everybody said.
        """
        since = time.time()
        with self._came:
            while (found := look()) is None:
                if not self._came.wait(since + DEADLINE - time.time()):
                    rest = [f"{n.name}: {line}" for n in self.nodes for line in n.rest]
                    story = "\n".join([*self.timeline(since), *rest])
                    raise TimeoutError(f"{what} did not come:\n{story}")
            return found

    def generation(self, after: int) -> list[Said]:
        """Wait for a newer generation of all nodes; return its workers' first lines."""

        def look() -> list[Said] | None:
            newest = [
                max((line.generation for line in node.said), default=0)
                for node in self.nodes
            ]
            if len(set(newest)) > 1 or newest[0] <= after:
                return None
            lines = [
                line
                for node in self.nodes
                for line in node.said
                if (line.what, line.generation) == ("begins", newest[0])
            ]
            full = {line.size for line in lines} == {len(self.nodes)}
            return lines if full else None

        return self.wait(f"a generation after {after} of {len(self.nodes)} nodes", look)

    def event(self, node: Node, name: str) -> Happened:
        """Wait for an event of a node; return the first."""
        return self.wait(
            f"{name} of {node.name}",
            lambda: next(iter(node.happened(name)), None),
        )

    def coordinator(self) -> Node:
        """Return the node that decides."""

        def since(node: Node) -> float:
            events = node.happened("rendezvous.coordinator")
            return events[-1].time if events else 0.0

        return max(self.nodes, key=since)

    def timeline(self, since: float) -> list[str]:
        """Return everything that happened on all nodes after a moment, in order."""
        everybody = [*self.nodes, *self.gone]
        told = [
            (event.time, node.name, f"{event.name} {dict(event.facts)}")
            for node in everybody
            for event in node.events
            if event.time >= since
        ] + [
            (line.time, node.name, f"worker {line.rank} {line.what}")
            for node in everybody
            for line in node.said
            if line.time >= since
        ]
        return [
            f"{when - since:+8.3f} {name:4} {what}" for when, name, what in sorted(told)
        ]

    def close(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.power_off()
        self.gone += self.nodes
        self.nodes.clear()

    def _spawn(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "elaunch", "run", "-q"),
                *("--event-recorder", "jsonl:path=/dev/stdout", *arguments),
            ],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def free_endpoint() -> str:
    """Return an address on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
