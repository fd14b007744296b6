"""Where an agent runs: on a loop of its own, wherever the caller is."""

import asyncio
import concurrent.futures
from collections.abc import Coroutine
from typing import TypeVar


T = TypeVar("T")


def run_to_end(work: Coroutine[None, None, T]) -> T:
    """Run work on a new event loop and return its result; blocks.

    Inside a running loop, as in a notebook, it runs in a thread of its own.
    """
    if not _loop_is_running():
        return asyncio.run(work)
    with concurrent.futures.ThreadPoolExecutor(1, "elaunch-agent") as thread:
        return thread.submit(asyncio.run, work).result()


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
