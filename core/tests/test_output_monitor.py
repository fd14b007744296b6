"""The monitor `output` between a spawner's thread and the agent's loop."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from elaunch.api import (
    Feed,
    Finding,
    Monitor,
    MonitorParameters,
    OutputBlock,
    UsageError,
    WatchedGroup,
)
from elaunch.builtin import elaunch_register_monitors
from elaunch.options import build_options
from elaunch.testing import MonitorContract


SOON = 60.0


@pytest.fixture
def feed() -> Feed[OutputBlock]:
    return Feed()


def create(feed: Feed[OutputBlock], **options: str) -> Monitor:
    (provider,) = (p for p in elaunch_register_monitors() if p.name == "output")
    given = build_options(provider.options_class(), options, "--monitor")
    return provider.create(MonitorParameters("job", output=feed), given)


class TestContract(MonitorContract):
    @pytest.fixture
    def monitor(self, feed: Feed[OutputBlock]) -> Monitor:
        return create(feed, silence="60")


@contextlib.asynccontextmanager
async def watching(
    monitor: Monitor, generation: int = 1
) -> AsyncIterator[AsyncIterator[Finding]]:
    group = WatchedGroup(pids={0: os.getpid()}, base_rank=4, generation=generation)
    findings = monitor.watch(group)
    async with contextlib.aclosing(findings), asyncio.timeout(SOON):
        yield findings


async def tell(feed: Feed[OutputBlock], *texts: str) -> None:
    """Tell blocks as a spawner does: in a thread of its own."""

    def work() -> None:
        for text in texts:
            feed.tell(OutputBlock(0, 1, text.encode()))

    thread = threading.Thread(target=work)
    thread.start()
    await asyncio.to_thread(thread.join)


@pytest.mark.asyncio
async def test_what_was_written_before_anybody_watched_counts(
    feed: Feed[OutputBlock],
) -> None:
    monitor = create(feed, pattern="nan", forbidden="true")
    monitor.environment()
    await tell(feed, "loss na", "n\n")
    async with watching(monitor) as findings:
        found = await anext(findings)

    assert found.local_rank == 0
    assert "'loss nan'" in found.reason


@pytest.mark.asyncio
async def test_what_is_written_meanwhile_is_found(feed: Feed[OutputBlock]) -> None:
    monitor = create(feed, pattern="nan", forbidden="true")
    monitor.environment()
    async with watching(monitor) as findings:
        found = asyncio.ensure_future(anext(findings))
        await asyncio.sleep(0)
        await tell(feed, "loss nan\n")

        assert "'loss nan'" in (await found).reason


@pytest.mark.asyncio
async def test_each_generation_begins_anew(feed: Feed[OutputBlock]) -> None:
    monitor = create(feed, pattern="nan", forbidden="true")
    for generation in (1, 2):
        monitor.environment()
        await tell(feed, f"nan {generation}\n")
        async with watching(monitor, generation) as findings:
            assert f"'nan {generation}'" in (await anext(findings)).reason


@pytest.mark.asyncio
async def test_it_listens_from_the_start_of_a_group_to_its_end(
    feed: Feed[OutputBlock],
) -> None:
    monitor = create(feed, silence="60")
    assert not feed
    monitor.environment()
    monitor.environment()  # of a group that never started
    assert feed
    async with watching(monitor) as findings:
        first = asyncio.ensure_future(anext(findings))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait((first,))

    assert not feed


def test_what_is_wrong_with_it_is_told_before_anything_starts(
    feed: Feed[OutputBlock], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="nothing to look for"):
        create(feed)
    with pytest.raises(UsageError, match="No such file"):
        create(feed, rules=str(tmp_path / "none.toml"))
    with pytest.raises(UsageError, match="no regular expression"):
        create(feed, pattern="(", every="3")
