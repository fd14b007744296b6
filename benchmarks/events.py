"""What an event costs the thread of an agent, for each recorder.

    python benchmarks/events.py [EVENTS]

The cost is processor time of that thread, for a worker's start with all that
torchelastic tells of it; then what passes until all of it is written.
"""

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from elaunch.agent.recording import Recording
from elaunch.agent.twins import Twins
from elaunch.events import EventName, EventRecorder, RecorderParameters
from elaunch.plugins import load_plugins


PARTS = 20
PARAMETERS = RecorderParameters("job", "a1b2c3d4")


def measure(spec: str, count: int, directory: Path) -> tuple[float, float, float]:
    """Return microseconds for an event, median and worst part, and to write them."""
    recorders: Sequence[EventRecorder] = ()
    if spec:
        name, _, rest = spec.partition(":")
        options = dict(pair.split("=") for pair in rest.split(",") if pair)
        if name == "jsonl":
            options["path"] = str(directory / f"{len(list(directory.iterdir()))}.jsonl")
        recorders = (load_plugins().recorders.create(name, PARAMETERS, options),)
    twins = Twins(
        run_id="job", host="host", role="default", backend="c10d", entry_point="t.py"
    )
    record = Recording("job", recorders, "a1b2c3d4", twins)
    began = time.perf_counter()
    parts = []
    for _ in range(PARTS):
        start = time.thread_time()
        for rank in range(count // PARTS):
            record(
                EventName.WORKER_STARTED, generation=1, rank=rank, local_rank=0, pid=9
            )
        parts.append((time.thread_time() - start) / (count // PARTS) * 1e6)
    record.close()
    total = (time.perf_counter() - began) / count * 1e6
    return statistics.median(parts), max(parts), total


def main() -> None:
    """Print a table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 8_000
    logging.getLogger("elaunch.events").addHandler(logging.NullHandler())
    print(f"{'recorder':28} {'agent, us':>10} {'worst':>8} {'written, us':>12}")
    with tempfile.TemporaryDirectory() as directory:
        for spec in ("", "null", "jsonl", "jsonl:sync=yes", "logging", "torchelastic"):
            median, worst, total = measure(spec, count, Path(directory))
            label = spec or "none"
            print(f"{label:28} {median:10.1f} {worst:8.1f} {total:12.1f}")


if __name__ == "__main__":
    main()
