"""Wait counters: how often and how long a worker waits for something, by name."""

import contextlib
import threading
import time
from collections.abc import Iterator


class _Counter:
    """What is known of one wait."""

    def __init__(self) -> None:
        self.active_count = 0
        self.total_calls = 0
        self.total_time_us = 0
        self.max_time_us = 0


_counters: dict[str, _Counter] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def wait_counter(name: str) -> Iterator[None]:
    """Count and time a block under a name."""
    with _lock:
        counter = _counters.setdefault(name, _Counter())
        counter.active_count += 1
        counter.total_calls += 1
    begin = time.monotonic_ns()
    try:
        yield
    finally:
        elapsed = (time.monotonic_ns() - begin) // 1000
        with _lock:
            counter.active_count -= 1
            counter.total_time_us += elapsed
            counter.max_time_us = max(counter.max_time_us, elapsed)


def values() -> dict[str, dict[str, int]]:
    """Return what all counters know, by name."""
    with _lock:
        return {name: dict(vars(counter)) for name, counter in _counters.items()}
