"""The part of the spawner contract about who follows what workers write."""

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

import attrs
import pytest

from elaunch.api import Feed, OutputBlock, Spawner
from elaunch.testing.groups import (
    SOON,
    Script,
    SpawnerFixtures,
    exits,
    started,
    worker,
)
from elaunch.testing.lifeline import HOLD, Lifeline


@attrs.define(eq=False)
class Follower:
    """Follows a feed, in whatever thread it tells.

    Attributes:
        written: What came, by local rank and stream.
        looks: How often each worker was said to have written no more.
    """

    written: dict[tuple[int, int], bytes] = attrs.field(
        factory=lambda: defaultdict(bytes)
    )
    looks: dict[int, int] = attrs.field(factory=lambda: defaultdict(int))
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)
    _came: asyncio.Event = attrs.field(factory=asyncio.Event)

    def __call__(self, block: OutputBlock) -> None:
        """Take a block."""
        self._loop.call_soon_threadsafe(self._take, block)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds.

        Raises:
            TimeoutError: If it does not soon.
        """
        async with asyncio.timeout(SOON):
            while not condition():
                self._came.clear()
                await self._came.wait()

    def _take(self, block: OutputBlock) -> None:
        if block.data:
            self.written[block.local_rank, block.stream] += block.data
        else:
            self.looks[block.local_rank] += 1
        self._came.set()


@contextlib.asynccontextmanager
async def following(feed: Feed[OutputBlock]) -> AsyncIterator[Follower]:
    """Follow a feed for a while."""
    follower = Follower()
    end = feed.subscribe(follower)
    try:
        yield follower
    finally:
        end()


class OutputTests(SpawnerFixtures):
    """Whoever listens when a group is started hears all of it, as it comes."""

    @pytest.mark.asyncio
    async def test_what_workers_write_is_told(
        self, spawner: Spawner, script: Script, feed: Feed[OutputBlock]
    ) -> None:
        """Of each worker and stream every byte, in order."""
        code = """
            import os, sys
            rank = os.environ["RANK"]
            for number in range(1000):
                print("out", rank, number)
                print("err", rank, number, file=sys.stderr)
            sys.stdout.write("the last")
        """
        workers = [worker(r, label=f"[{r}] ", RANK=str(r)) for r in range(2)]
        async with following(feed) as follower:
            async with started(spawner, script(code), *workers) as group:
                await exits(group, 2)
                await group.close()
            # What was told in another thread comes before this.
            await asyncio.sleep(0)

        for rank in range(2):
            numbers = range(1000)
            out = "".join(f"out {rank} {number}\n" for number in numbers) + "the last"
            err = "".join(f"err {rank} {number}\n" for number in numbers)
            assert follower.written[rank, 1].decode() == out
            assert follower.written[rank, 2].decode() == err

    @pytest.mark.asyncio
    async def test_it_is_told_as_it_comes_and_silence_is_told_too(
        self,
        spawner: Spawner,
        script: Script,
        feed: Feed[OutputBlock],
        lifeline: Lifeline,
    ) -> None:
        """A worker that lives and writes no more is said to, again and again."""
        code = f"""
import sys
print("up")
{HOLD}
sys.stdin = open(os.environ["GO"])
sys.stdin.read()
"""
        go = lifeline.path.with_name("go")
        os.mkfifo(go)
        async with lifeline, following(feed) as follower:
            one = worker(0, GO=str(go), **lifeline.environment)
            async with started(spawner, script(code), one) as group:
                await lifeline.held_by(1)
                await follower.until(lambda: follower.written[0, 1] == b"up\n")
                before = follower.looks[0]
                await follower.until(lambda: follower.looks[0] >= before + 2)
                os.close(os.open(go, os.O_WRONLY))
                await exits(group)

    @pytest.mark.asyncio
    async def test_who_listens_to_nothing_disturbs_nobody(
        self,
        spawner: Spawner,
        script: Script,
        feed: Feed[OutputBlock],
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """One who raises is told no more, and the console gets everything."""

        def refuse(_: OutputBlock) -> None:
            raise ValueError("no, thanks")

        feed.subscribe(refuse)
        async with started(spawner, script("print('a line')")) as group:
            await exits(group)

        assert not feed
        assert capfd.readouterr().out == "a line\n"
