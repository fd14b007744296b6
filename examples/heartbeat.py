"""A training loop that tells its agent how it goes, and hangs once if it is asked to.

    elaunch run --standalone --nproc-per-node 2 --max-restarts 1 \
        --monitor heartbeat:limit=2 examples/heartbeat.py --hang-at 30

The last rank hangs in its first try. The monitor finds it by its silence, the agent
writes down where it is, and the group starts again. Meanwhile `elaunch status` shows
the step of each rank and how long it took.
"""

import argparse
import os
import time

from elaunch.worker import heartbeat, section


def main() -> None:
    """Take steps, as training does, and tell of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--step-time", type=float, default=0.02, help="seconds")
    parser.add_argument("--hang-at", type=int, default=-1)
    options = parser.parse_args()

    last = os.environ["RANK"] == str(int(os.environ["WORLD_SIZE"]) - 1)
    first_try = os.environ["ELAUNCH_RESTART_COUNT"] == "0"
    for step in range(options.steps):
        began = time.monotonic()
        with section("train", limit=60):
            time.sleep(options.step_time)
        if last and first_try and step == options.hang_at:
            wait_for_somebody_who_never_comes()
        heartbeat(step=step, step_time=time.monotonic() - began)
    print(f"rank {os.environ['RANK']} has taken {options.steps} steps")


def wait_for_somebody_who_never_comes() -> None:
    """Hang, as a rank does that waits in a collective."""
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main()
