"""Sum the ranks with JAX: one process a worker, rank 0's is the coordinator.

elaunch run --standalone --nproc-per-node 2 --bootstrap jax examples/jax_sum.py
"""

import os

import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils


def main() -> None:
    """Form the group by the environment alone, then add the ranks."""
    jax.distributed.initialize(
        num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
        process_id=int(os.environ["JAX_PROCESS_ID"]),
    )
    rank, world_size = jax.process_index(), jax.process_count()
    ranks = multihost_utils.process_allgather(jnp.array([float(rank)]))
    generation = os.environ["ELAUNCH_GENERATION"]
    print(
        f"generation {generation}: rank {rank} of {world_size}: SUM = {ranks.sum():g}",
        flush=True,
    )
    jax.distributed.shutdown()


if __name__ == "__main__":
    main()
