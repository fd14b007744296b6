"""Where an agent runs: on a loop of its own, wherever the caller is."""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import TypeVar

from elaunch.agent.signals import HandledSignals, Relay, handled_signals
from elaunch.signals import AgentSignals


logger = logging.getLogger(__name__)

T = TypeVar("T")

RELEASE = 2.0
"""Seconds that what is left on the loop gets to end: a plugin may not let it."""


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
        return _run(work(handled_signals))
    relay = Relay([*signals.end, *([signals.notice] if signals.notice else [])])
    main = threading.current_thread() is threading.main_thread()
    with (
        relay.listening() if main else contextlib.nullcontext(),
        concurrent.futures.ThreadPoolExecutor(1, "elaunch-agent") as thread,
    ):
        return thread.submit(_run, work(relay.handled)).result()


def _run(work: Coroutine[None, None, T]) -> T:
    """Do as `asyncio.run`, but don't wait for ever for what won't be cancelled."""
    runner = asyncio.Runner()
    try:
        return runner.run(work)
    finally:
        loop = runner.get_loop()
        if loop.run_until_complete(_cancelled_rest()):
            runner.close()
        else:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
            asyncio.set_event_loop(None)


async def _cancelled_rest() -> bool:
    """Cancel what is left on the loop; return whether it has ended."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    late = (await asyncio.wait(rest, timeout=RELEASE))[1] if rest else ()
    for task in late:
        logger.info("%r does not end when it is cancelled, and is left", task)
    return not late


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
