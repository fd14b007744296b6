"""A worker has its node left out: the others go on, and a spare takes its rank."""

from agents import Launch
from places import Script


OPTIONS = "last_call_timeout=0,reconnect_grace=0.1"

BAD_NODE = """
import os, signal
from elaunch.worker import exclude_node

rank, generation = os.environ["RANK"], os.environ["ELAUNCH_GENERATION"]
print("rank", rank, "in", generation, flush=True)
if generation == "1":
    if rank == "1":
        exclude_node("the disk is read-only")
    signal.pause()
"""


def test_a_node_is_left_out_and_the_spare_takes_its_rank(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(BAD_NODE)
    flags = (
        *("-v", "--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "2"),
        *("--rdzv-conf", OPTIONS, "--max-restarts", "1", worker),
    )
    nodes = [launch(*flags)]
    nodes[0].wait_for("rendezvous.coordinator")
    nodes += [launch(*flags), launch(*flags)]
    ends = [node.wait() for node in nodes]
    outputs = [node.output for node in nodes]
    bad = next(o for o in outputs if "rank 1 in 1" in o)
    spare = next(o for o in outputs if "rank 1 in 2" in o)
    kept = next(o for o in outputs if "rank 0 in 2" in o)

    assert ends == [0, 0, 0], "\n".join(outputs)
    assert len({bad, spare, kept}) == 3
    assert "in 2" not in bad
    assert "rank 1 in 1" not in spare
    assert "the disk is read-only" in bad
    assert "the disk is read-only" in kept
    assert "for good" in kept
