"""How many seeds are tried: few whenever the tests run, more by `make simulate`."""

import os


DEPTH = int(os.environ.get("TEST_DEPTH", "1"))
"""How many times as many as usual."""


def seeds(few: int) -> range:
    """Return the seeds to try where so many do whenever the tests run."""
    return range(few * DEPTH)
