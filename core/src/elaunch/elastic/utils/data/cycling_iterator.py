"""Epochs one after the other, see `elaunch.data`."""

from elaunch.data import CyclingIterator


__all__ = ["CyclingIterator"]
