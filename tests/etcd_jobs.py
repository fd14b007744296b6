"""Jobs whose agents meet in etcd, and whose workers talk to each other all the time."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
from agents import Agent, Launch
from places import assert_agree, places_in

from elaunch.api import UsageError
from elaunch_rdzv_etcd.local.binary import find_binary


WORK = """
import os, signal, sys, threading, time
from pathlib import Path

from elaunch_rdzv_c10d import Store

directory = Path(sys.argv[1])
generation = os.environ["ELAUNCH_GENERATION"]
restarts = os.environ["ELAUNCH_RESTART_COUNT"]
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
if generation in os.environ.get("STUBBORN_IN", ""):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

def live():
    with open(directory / f"life-{generation}-{os.getpid()}", "w", buffering=1) as life:
        while True:
            print(time.monotonic(), file=life)
            time.sleep(0.02)

threading.Thread(target=live, daemon=True).start()
print("generation", generation, "rank", rank, "of", world, "restarts", restarts,
      "store", os.environ["MASTER_ADDR"] + ":" + os.environ["MASTER_PORT"], flush=True)
with Store.from_env(timeout=30) as store:
    step, told = 0, False
    while not told:
        step += 1
        store.set(f"{step} of {rank}", str(int((directory / "go").exists())))
        said = store.multi_get(f"{step} of {other}" for other in range(world))
        told = b"1" in said
        print("step", step, "of generation", generation, "with", len(said), flush=True)
        time.sleep(0.05)
"""
"""A worker that meets all others at each step, and ends well when one of them is told.

It also writes down, in a file of its own, when it was alive.
"""

_STEP = r"step \d+ of generation"
_LIFE = re.compile(r"life-(\d+)-\d+")


@attrs.define
class Job:
    """One job in etcd.

    Attributes:
        directory: For its files.
        launch: Starts its agents.
        endpoints: Of etcd.
        run_id: Its id.
        nnodes: How many nodes it has.
        conf: Options of its rendezvous.
        backend: Its backend.
        flags: More flags of its agents.
        work: What its workers do.
        nodes: Its agents, those that are gone included.
    """

    directory: Path
    launch: Launch
    endpoints: str
    run_id: str = "job"
    nnodes: str = "2:3"
    conf: str = ""
    backend: str = "etcd"
    flags: Sequence[str] = ()
    work: str = WORK
    nodes: list[Agent] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.directory.mkdir()
        self._script.write_text(self.work)

    @property
    def _script(self) -> Path:
        return self.directory / "worker.py"

    def start(self, prefix: Sequence[str] = (), **variables: str) -> Agent:
        """Start an agent."""
        node = self.launch(
            *("-v", "--rdzv-backend", self.backend, "--rdzv-endpoint", self.endpoints),
            *("--rdzv-id", self.run_id, "--nnodes", self.nnodes),
            *("--rdzv-conf", self.conf),
            *(*self.flags, str(self._script), str(self.directory)),
            prefix=prefix,
            **variables,
        )
        self.nodes.append(node)
        return node

    @property
    def living(self) -> list[Agent]:
        """Its agents that have not ended."""
        return [node for node in self.nodes if node.process.poll() is None]

    def node_of_rank(self, rank: int) -> Agent:
        """Return the agent that runs the worker of a rank, of one worker each."""
        told = re.compile(rf"generation \d+ rank {rank} of")
        return next(n for n in self.living if told.findall(n.output)[-1:])

    def assert_ends_well(self) -> None:
        """Let the workers end; so do the agents."""
        nodes = self.living
        (self.directory / "go").touch()

        statuses = [node.wait() for node in nodes]
        assert set(statuses) == {0}, "\n\n".join(node.output for node in nodes)

    def lives(self) -> dict[int, tuple[float, float]]:
        """Return when the first worker of each generation came and the last went."""
        lives: dict[int, list[float]] = {}
        for path in self.directory.glob("life-*"):
            found = _LIFE.fullmatch(path.name)
            # The last line may be half a line: the worker was killed.
            times = path.read_text().split("\n")[:-1]
            if found and times:
                lives.setdefault(int(found[1]), []).extend(map(float, times))
        return {number: (min(t), max(t)) for number, t in sorted(lives.items())}

    def assert_one_at_a_time(self) -> None:
        """No two generations were alive together, wherever."""
        lives = self.lives()
        order = list(lives.values())

        for (_, end), (begin, _) in itertools.pairwise(order):
            assert end < begin, lives


def works(nodes: Sequence[Agent], generation: int, restarts: int = 0) -> str:
    """Wait until a generation runs on these nodes, and no other, and talks.

    Returns:
        Where its workers meet.
    """
    places = places_in(nodes, generation)
    assert_agree(places, restarts)
    for node in nodes:
        node.wait_for(f"{_STEP} {generation} with {len(nodes)}$", count=2)
    return places[0][3]


def goes_on(nodes: Sequence[Agent], steps: int = 5) -> None:
    """Wait until the workers of these nodes have met so many times again."""
    done = [len(re.findall(_STEP, node.output)) for node in nodes]
    for node, before in zip(nodes, done, strict=True):
        node.wait_for(_STEP, count=before + steps)


def generations(node: Agent) -> list[int]:
    """Return the generations whose workers a node has started."""
    return [int(n) for n in re.findall(r"generation (\d+) rank", node.output)]


def binary() -> str:
    """Return the etcd program, or skip the test where there is none."""
    try:
        return find_binary()
    except UsageError as error:
        pytest.skip(str(error))
