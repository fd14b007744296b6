"""Each worker adds its rank to one number, and all print the sum.

    elaunch run --standalone --nproc-per-node 4 examples/sum_ranks.py

The workers meet in the store of their generation. It speaks torch's TCPStore protocol,
but nothing here needs torch.
"""

import os

from elaunch_rdzv_c10d import Store


def main() -> None:
    """Add, wait for the others, read the sum."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    with Store.from_env() as store:
        store.add("sum", rank)
        store.barrier("added", world_size)
        total = store.add("sum", 0)
    print(f"rank {rank} of {world_size}: SUM = {total}")


if __name__ == "__main__":
    main()
