"""Train a small model with torch's DDP on the CPU; resume where the last run ended.

elaunch run --nproc-per-node 2 examples/torch_ddp_train.py --checkpoint saved.pt

Nothing in it is elaunch's: torchrun runs it as it is. Each step is saved before the
next one begins, so that workers that were stopped at any moment go on to the same loss.
"""

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


FEATURES, BATCH = 8, 32


def batch_of(step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what one worker learns from in one step: the same in each run."""
    source = torch.Generator().manual_seed(1000 * step + rank)
    inputs = torch.randn(BATCH, FEATURES, generator=source)
    return inputs, inputs.sum(dim=1, keepdim=True).sin()


def save(path: Path, state: dict[str, object]) -> None:
    """Write a checkpoint so that there is always a whole one."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def main() -> None:
    """Train, and say the last loss."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()

    torch.manual_seed(0)
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    network = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)
    )
    model = DistributedDataParallel(network)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    first, loss = 0, torch.zeros(1)
    if args.checkpoint.exists():
        state = torch.load(args.checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, loss = state["step"], state["loss"]
    # Nobody writes the next one before all have read this one.
    dist.barrier()

    for step in range(first, args.steps):
        inputs, targets = batch_of(step, rank)
        optimizer.zero_grad()
        own = torch.nn.functional.mse_loss(model(inputs), targets)
        own.backward()
        optimizer.step()
        loss = own.detach().clone()
        dist.all_reduce(loss)
        loss /= world_size
        if rank == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            save(args.checkpoint, {**state, "step": step + 1, "loss": loss})
        dist.barrier()
        restarts = os.environ["TORCHELASTIC_RESTART_COUNT"]
        print(f"rank {rank}: step {step + 1}, restart {restarts}", flush=True)
    if rank == 0:
        print(f"loss after {args.steps} steps: {loss.item()!r}", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
