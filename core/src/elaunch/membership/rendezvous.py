"""A rendezvous over any store."""


class StoreRendezvous:
    """Being written."""
