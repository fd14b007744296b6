"""Sum the ranks with torch: gloo, over the store that the launcher serves.

elaunch run --standalone --nproc-per-node 2 examples/torch_allreduce.py
"""

import os

import torch
import torch.distributed as dist


def main() -> None:
    """Form the group by the environment alone, then add the ranks."""
    dist.init_process_group("gloo", init_method="env://")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    total = torch.tensor([float(rank)])
    dist.all_reduce(total)
    generation = os.environ["ELAUNCH_GENERATION"]
    print(
        f"generation {generation}: rank {rank} of {world_size}: SUM = {total.item():g}",
        flush=True,
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
