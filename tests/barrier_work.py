"""What two nodes do of which one is done first; light, as workers import it."""

import os
from pathlib import Path

import elaunch  # what it has is imported when it is asked for


def work(flag: str) -> str:
    """Rank 0 ends when it is told to, rank 1 at once."""
    if os.environ["RANK"] == "0":
        with Path(flag).open() as told:  # a FIFO
            return told.read()
    return "quick"


def run_node(
    endpoint: str, timeout: float | None, flag: str, events: str
) -> dict[int, str]:
    """Run one of two nodes; return what its worker returned."""
    config = elaunch.LaunchConfig(
        min_nodes=2,
        max_nodes=2,
        nproc_per_node=1,
        run_id="job",
        rdzv_endpoint=endpoint,
        exit_barrier_timeout=timeout,
        event_recorders=(f"jsonl:path={events}",),
    )
    return elaunch.elastic_launch(config, work)(flag)
