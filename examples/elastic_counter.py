"""Count to a target, whatever happens to workers and nodes on the way.

    elaunch run --standalone --nproc-per-node 2 --max-restarts 3 \
        examples/elastic_counter.py --target 20 --file counter.json

Rank 0 saves the count after each step and resumes from it in the next generation:
after a failure, and when a node joins or leaves. With `--crash-at N` the last rank
fails once, on purpose, when the count reaches N.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from elaunch_rdzv_c10d import Store


def main() -> None:
    """Count together: nobody begins step n + 1 before all have done step n."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", type=int, default=20)
    parser.add_argument("--file", type=Path, default=Path("counter.json"))
    parser.add_argument("--step-time", type=float, default=0.1, help="seconds")
    parser.add_argument("--crash-at", type=int, default=0)
    options = parser.parse_args()

    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    generation = int(os.environ["ELAUNCH_GENERATION"])
    first_try = os.environ["ELAUNCH_RESTART_COUNT"] == "0"
    with Store.from_env() as store:
        if rank == 0:
            store.set("start", str(load(options.file)).encode())
        count = int(store.get("start"))
        if rank == 0:
            print(
                f"generation {generation}: {world_size} workers go on from {count}",
                flush=True,
            )
        while count < options.target:
            time.sleep(options.step_time)
            count += 1
            if count == options.crash_at and first_try and rank == world_size - 1:
                sys.exit("crashing on purpose")
            if rank == 0:
                save(options.file, count)
            store.barrier(f"step/{count}", world_size)
    if rank == 0:
        print(f"counted to {count}", flush=True)


def load(path: Path) -> int:
    """Return the count that was saved last, 0 if there is none."""
    return int(json.loads(path.read_text())["count"]) if path.exists() else 0


def save(path: Path, count: int) -> None:
    """Save the count so that a crash in the middle leaves the last one whole."""
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps({"count": count}))
    draft.replace(path)


if __name__ == "__main__":
    main()
