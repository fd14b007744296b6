"""Helpers for data of elastic jobs, under torchelastic's names.

Standard library only.
"""

import os
import random
from collections.abc import Callable, Iterator, Sized
from typing import TypeVar


T = TypeVar("T")


class ElasticDistributedSampler:
    """Deals the indices of a dataset to the workers, each a share of the same size.

    All workers shuffle alike, by the epoch; each takes every n-th index. What is left
    over is filled up from the beginning. A job that goes on in the middle of an epoch,
    also with another number of workers, gives the number of samples that are done as
    ``start_index``.

    torch's sampler of this name shuffles by torch's generator: the order here is
    another one, sizes and shares are the same.

    Args:
        dataset: The dataset, or anything of its size.
        num_replicas: Number of workers; by default the environment's ``WORLD_SIZE``.
        rank: Which of them this is; by default the environment's ``RANK``.
        start_index: First index to use.

    Raises:
        TypeError: If the dataset has no size.
        ValueError: If rank, number or start are out of range.
        RuntimeError: If neither arguments nor environment tell rank and number.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        start_index: int = 0,
    ) -> None:
        if not isinstance(dataset, Sized):
            raise TypeError(f"a dataset needs a size, and {dataset!r} has none")
        self.dataset = dataset
        self.num_replicas = _given(num_replicas, "num_replicas", "WORLD_SIZE")
        self.rank = _given(rank, "rank", "RANK")
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(
                f"rank must be from 0 to {self.num_replicas - 1}, not {self.rank}"
            )
        if not 0 <= start_index < len(dataset):
            raise ValueError(
                f"start_index must be from 0 to {len(dataset) - 1}, as the dataset has "
                f"{len(dataset)} samples, not {start_index}"
            )
        self.start_index = start_index
        self.epoch = 0
        left = len(dataset) - start_index
        self.num_samples = -(-left // self.num_replicas)
        self.total_size = self.num_samples * self.num_replicas

    def set_epoch(self, epoch: int) -> None:
        """Shuffle by another epoch from the next iteration on."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        indices = list(range(self.start_index, len(self.dataset)))
        random.Random(self.epoch).shuffle(indices)  # noqa: S311 - no secret
        times = -(-self.total_size // len(indices))
        return iter((indices * times)[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples


def _given(value: int | None, name: str, variable: str) -> int:
    if value is not None:
        return value
    if variable not in os.environ:
        raise RuntimeError(
            f"{name} is neither given nor known: {variable} is not set, which "
            f"'elaunch run' does"
        )
    return int(os.environ[variable])


class CyclingIterator(Iterator[T]):
    """Goes through one iterator after the other, one for each epoch.

    Args:
        n: Number of the last epoch plus 1.
        generator_fn: Called with the number of the epoch; returns its iterator.
        start_epoch: First epoch.
    """

    def __init__(
        self, n: int, generator_fn: Callable[[int], Iterator[T]], start_epoch: int = 0
    ) -> None:
        self._n = n
        self._epoch = start_epoch
        self._generator_fn = generator_fn
        self._iter = generator_fn(start_epoch)

    def __iter__(self) -> "CyclingIterator[T]":
        return self

    def __next__(self) -> T:
        while True:
            try:
                return next(self._iter)
            except StopIteration:
                if self._epoch >= self._n - 1:
                    raise
            self._epoch += 1
            self._iter = self._generator_fn(self._epoch)
