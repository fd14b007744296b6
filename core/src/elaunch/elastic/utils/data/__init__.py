"""Data among workers that come and go, see `elaunch.data`."""

from elaunch.data import (
    CyclingIterator,
    ElasticDistributedSampler,
)


__all__ = [
    "CyclingIterator",
    "ElasticDistributedSampler",
]
