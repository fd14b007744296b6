"""What every monitor must do."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from elaunch.api import Monitor, WatchedGroup


SOON = 60.0
"""Seconds in which anything here happens."""


class MonitorContract:
    """Inherit, override the fixture, and run."""

    @pytest.fixture
    def monitor(self) -> Monitor:
        """Return a new monitor; must be overridden."""
        raise NotImplementedError("override the fixture 'monitor'")

    @pytest.fixture
    def pids(self) -> Iterator[dict[int, int]]:
        """Process id by local rank, of two workers that sleep."""
        code = "import signal; signal.pause()"
        with contextlib.ExitStack() as stack:
            workers = [
                stack.enter_context(subprocess.Popen([sys.executable, "-c", code]))  # noqa: S603 - ours
                for _ in range(2)
            ]
            yield dict(enumerate(worker.pid for worker in workers))
            for worker in workers:
                worker.kill()

    def test_its_variables_are_texts(self, monitor: Monitor) -> None:
        """What workers get of it can be an environment, and is the same again."""
        told = monitor.environment()

        for name, value in told.items():
            assert name
            assert "\0" not in name + value
        assert monitor.environment() == told

    @pytest.mark.asyncio
    async def test_it_can_be_closed_at_once_and_watch_again(
        self, monitor: Monitor, pids: dict[int, int]
    ) -> None:
        """A generation may end before it found anything; the next one is watched."""
        for _ in range(2):
            monitor.environment()
            async with asyncio.timeout(SOON):
                findings = monitor.watch(WatchedGroup(pids=pids))
                first = asyncio.ensure_future(anext(findings))
                await asyncio.sleep(0)
                first.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await first
                await findings.aclose()
