"""Rendezvous `c10d`, bootstrap `c10d`, and a store client for workers without torch."""

from elaunch_rdzv_c10d.client import Store, StoreError, StoreTimeout


__all__ = ["Store", "StoreError", "StoreTimeout"]
