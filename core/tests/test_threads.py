"""Calls that block, from a loop: none holds it up, and one that hangs is one thread."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from elaunch.threads import BlockingCall, in_thread


class Gate:
    """A call that hangs until it is let go, and counts how often it was made."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.made = 0
        self.answer: Callable[[], int] = lambda: self.made

    def __call__(self) -> int:
        self.made += 1
        self.open.wait(20)
        return self.answer()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.mark.asyncio
async def test_the_loop_goes_on_meanwhile(gate: Gate) -> None:
    asking = asyncio.create_task(in_thread(gate))
    asyncio.get_running_loop().call_soon(gate.open.set)

    assert await asking == 1


@pytest.mark.asyncio
async def test_who_gives_up_leaves_a_call_that_the_next_one_waits_for(
    gate: Gate,
) -> None:
    call = BlockingCall(gate)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call(), 0.01)
    asking = asyncio.create_task(call())
    await asyncio.sleep(0)
    gate.open.set()

    assert await asking == 1
    assert gate.made == 1
    assert await call() == 2


@pytest.mark.asyncio
async def test_what_it_raises_is_raised_each_time(gate: Gate) -> None:
    def fail() -> int:
        raise OSError(gate.made)

    gate.open.set()
    gate.answer = fail
    call = BlockingCall(gate)
    for made in (1, 2):
        with pytest.raises(OSError, match=str(made)):
            await call()


def test_a_loop_does_not_wait_for_the_call_of_another(gate: Gate) -> None:
    call = BlockingCall(gate)

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call(), 0.01)

    asyncio.run(give_up())
    gate.open.set()

    assert asyncio.run(call()) == 2


def test_the_end_of_the_loop_waits_for_no_call(gate: Gate) -> None:
    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_thread(gate), 0.01)

    asyncio.run(give_up())  # which would wait for threads of its own

    assert gate.made == 1
    assert not gate.open.is_set()
    gate.open.set()
