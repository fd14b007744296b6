"""Which signals an agent takes for one."""

import asyncio
import signal

import pytest

from elaunch.agent.signals import ONCE_WITHIN, Once


pytestmark = pytest.mark.asyncio

TERM = signal.SIGTERM


async def told_of(
    monkeypatch: pytest.MonkeyPatch, *signals: tuple[float, int]
) -> list[int]:
    """Send signals at these times; return which are told."""
    told: list[int] = []
    once = Once(told.append)
    for now, signum in signals:
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.get_running_loop(), "time", lambda now=now: now)
            once(signum)
    return told


async def test_sigterm_to_a_process_and_to_its_group_is_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await told_of(monkeypatch, (5.0, TERM), (5.1, TERM), (5.9, TERM)) == [TERM]


async def test_a_later_sigterm_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    later = 5.0 + ONCE_WITHIN
    told = await told_of(monkeypatch, (5.0, TERM), (5.5, TERM), (later, TERM))
    assert told == [TERM, TERM]


async def test_of_other_signals_each_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    signals = [signal.SIGINT, signal.SIGINT, TERM, signal.SIGINT]
    told = await told_of(monkeypatch, *((5.0, signum) for signum in signals))
    assert told == signals
