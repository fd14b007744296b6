"""Samples dealt among the workers there are, see `elaunch.data`."""

from elaunch.data import ElasticDistributedSampler


__all__ = ["ElasticDistributedSampler"]
