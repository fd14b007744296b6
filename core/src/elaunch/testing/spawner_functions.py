"""The part of the spawner contract about function entries.

The functions stand inside their tests, so that they travel by value: a worker can't
import a test module.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from elaunch.api import FunctionEntry, Spawner, SpawnError, WorkerExit
from elaunch.testing.groups import SpawnerFixtures, exits, started, worker


def _entry(function: Callable[..., Any], *args: Any) -> FunctionEntry:
    return FunctionEntry(function, args, "function")


async def _end(
    spawner: Spawner, function: Callable[..., Any], *args: Any
) -> WorkerExit:
    async with started(spawner, _entry(function, *args)) as group:
        return (await exits(group))[0]


class FunctionTests(SpawnerFixtures):
    """Each way in which a function can end, and its value.

    Attributes:
        supports_functions: Whether the spawner starts `FunctionEntry`.
        sends_functions: Whether function and arguments travel to the workers.
    """

    supports_functions: ClassVar[bool] = True
    sends_functions: ClassVar[bool] = True

    @pytest.fixture
    def caller(self, spawner: Spawner) -> Spawner:
        """Return the spawner if it can call functions."""
        if not self.supports_functions:
            pytest.skip("this spawner starts no functions")
        return spawner

    @pytest.mark.asyncio
    async def test_each_worker_hands_its_value_back(self, caller: Spawner) -> None:
        """The value is the function's, called with the arguments in its worker."""

        def describe(left: int, right: int) -> tuple[str, int]:
            import os

            return os.environ["RANK"], left + right

        workers = [worker(rank, RANK=str(rank)) for rank in range(2)]
        async with started(caller, _entry(describe, 1, 2), *workers) as group:
            ended = await exits(group, 2)

        assert {rank: end.value for rank, end in ended.items()} == {
            0: ("0", 3),
            1: ("1", 3),
        }
        assert not any(end.failed for end in ended.values())

    @pytest.mark.parametrize("value", [None, b"x" * 20_000_000], ids=["None", "20 MB"])
    @pytest.mark.asyncio
    async def test_any_value_comes_back(self, caller: Spawner, value: Any) -> None:
        """None is a value, and size doesn't matter."""
        ended = await _end(caller, lambda given: given, value)

        assert not ended.failed
        assert ended.exitcode == 0
        assert ended.value == value

    @pytest.mark.asyncio
    async def test_an_exception_is_told(self, caller: Spawner) -> None:
        """Message, traceback and place of what a function raised."""

        def boom() -> None:
            raise ValueError("no luck")

        ended = await _end(caller, boom)

        assert ended.failed
        assert ended.exitcode == 1
        assert ended.message == "ValueError: no luck"
        assert ended.traceback.rstrip().endswith("ValueError: no luck")
        line = boom.__code__.co_firstlineno + 1
        assert ended.location == f"{boom.__code__.co_filename}:{line}"

    @pytest.mark.parametrize("code", [0, None])
    @pytest.mark.asyncio
    async def test_a_good_exit_is_the_value_none(
        self, caller: Spawner, code: int | None
    ) -> None:
        """``sys.exit(0)`` in a function ends it well."""

        def leave(code: int | None) -> None:
            raise SystemExit(code)

        ended = await _end(caller, leave, code)

        assert (ended.failed, ended.exitcode, ended.value) == (False, 0, None)

    @pytest.mark.asyncio
    async def test_a_bad_exit_keeps_its_code(self, caller: Spawner) -> None:
        """``sys.exit(3)`` in a function is exit code 3."""

        def leave() -> None:
            raise SystemExit(3)

        ended = await _end(caller, leave)

        assert (ended.failed, ended.exitcode) == (True, 3)

    @pytest.mark.asyncio
    async def test_exit_code_0_without_a_value_is_a_failure(
        self, caller: Spawner
    ) -> None:
        """``os._exit(0)`` doesn't pass for success."""

        def vanish() -> None:
            import os

            os._exit(0)

        ended = await _end(caller, vanish)

        assert ended.failed
        assert ended.exitcode == 0
        assert "without returning a value" in ended.message

    @pytest.mark.asyncio
    async def test_death_by_signal_is_told(self, caller: Spawner) -> None:
        """A function that is killed has a negative exit code and no value."""

        def die() -> None:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)

        ended = await _end(caller, die)

        assert (ended.failed, ended.exitcode, ended.value) == (True, -9, None)

    @pytest.mark.asyncio
    async def test_a_value_that_cant_travel_is_named(self, caller: Spawner) -> None:
        """The message names the type of the value."""

        def lock() -> Any:
            import threading

            return threading.Lock()

        ended = await _end(caller, lock)

        assert ended.failed
        assert "'lock'" in ended.message

    @pytest.mark.asyncio
    async def test_arguments_that_cant_travel_start_nothing(
        self, caller: Spawner
    ) -> None:
        """It is an error of `start`, and names the function."""
        if not self.sends_functions:
            pytest.skip("this spawner's workers have functions in memory already")
        generator = (number for number in range(3))

        with pytest.raises(SpawnError, match="'function' or its arguments"):
            await caller.start(_entry(print, generator), [worker(0)])
        await caller.close()
