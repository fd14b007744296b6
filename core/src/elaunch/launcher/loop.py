"""Where an agent runs: on a loop of its own, wherever the caller is."""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import TypeVar

from elaunch.agent.signals import HandledSignals, Relay, handled_signals
from elaunch.signals import AgentSignals


T = TypeVar("T")


def run_to_end(
    work: Callable[[HandledSignals], Coroutine[None, None, T]], signals: AgentSignals
) -> T:
    """Run an agent on a new event loop and return its result; blocks.

    Inside a running loop, as in a notebook, it runs in a thread of its own, to which
    the main thread hands the signals.

    Args:
        work: Runs the agent; is given how it gets its signals.
        signals: These signals.
    """
    if not _loop_is_running():
        return asyncio.run(work(handled_signals))
    relay = Relay([*signals.end, *([signals.notice] if signals.notice else [])])
    main = threading.current_thread() is threading.main_thread()
    with (
        relay.listening() if main else contextlib.nullcontext(),
        concurrent.futures.ThreadPoolExecutor(1, "elaunch-agent") as thread,
    ):
        return thread.submit(asyncio.run, work(relay.handled)).result()


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
