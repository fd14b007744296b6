"""Both ways to learn of a child's end."""

import asyncio
import functools
import os
import subprocess
import sys

import pytest

from elaunch.testing.groups import SLEEP, SOON
from elaunch_spawn_local.exit_watcher import (
    PidfdWatcher,
    ThreadWatcher,
    new_exit_watcher,
)
from elaunch_spawn_local.local import NewWatcher


pytestmark = pytest.mark.asyncio

WATCHERS = pytest.mark.parametrize("new_watcher", [PidfdWatcher, ThreadWatcher])


def python(code: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", code])


def wait_unreaped(child: "subprocess.Popen[bytes]") -> None:
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


@WATCHERS
async def test_an_end_is_told_in_the_loop_before_it_is_reaped(
    new_watcher: NewWatcher,
) -> None:
    loop = asyncio.get_running_loop()
    watcher = new_watcher(loop)
    ended = loop.create_future()
    child = python("raise SystemExit(3)")

    watcher.watch(child.pid, lambda: ended.set_result(asyncio.get_running_loop()))

    async with asyncio.timeout(SOON):
        assert await ended is loop
    assert child.poll() == 3
    watcher.close()


@WATCHERS
async def test_a_child_that_ended_before_is_told_too(new_watcher: NewWatcher) -> None:
    watcher = new_watcher(asyncio.get_running_loop())
    child = python("pass")
    wait_unreaped(child)
    ended = asyncio.Event()

    watcher.watch(child.pid, ended.set)

    async with asyncio.timeout(SOON):
        await ended.wait()
    child.wait()
    watcher.close()


@WATCHERS
async def test_each_of_many_is_told_once(new_watcher: NewWatcher) -> None:
    watcher = new_watcher(asyncio.get_running_loop())
    told: asyncio.Queue[int] = asyncio.Queue()
    children = [python("pass") for _ in range(20)]

    for number, child in enumerate(children):
        watcher.watch(child.pid, functools.partial(told.put_nowait, number))

    async with asyncio.timeout(SOON):
        assert {await told.get() for _ in children} == set(range(20))
    for child in children:
        child.wait()
    await asyncio.sleep(0)
    assert told.empty()
    watcher.close()


@WATCHERS
async def test_after_close_nothing_is_told(new_watcher: NewWatcher) -> None:
    watcher = new_watcher(asyncio.get_running_loop())
    ended = asyncio.Event()
    child = python(SLEEP)
    watcher.watch(child.pid, ended.set)

    watcher.close()
    watcher.close()

    child.kill()
    wait_unreaped(child)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await ended.wait()
    child.wait()


async def test_the_best_that_there_is_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    if PidfdWatcher.available():
        assert isinstance(new_exit_watcher(loop), PidfdWatcher)

    def forbidden(_: int) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "pidfd_open", forbidden, raising=False)

    assert isinstance(new_exit_watcher(loop), ThreadWatcher)
