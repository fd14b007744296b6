"""Function entries beyond the contract."""

import sys
from pathlib import Path
from typing import Any

import pytest

from elaunch.api import FunctionEntry
from elaunch.testing.groups import exits, started
from elaunch_spawn_local.function_call import NO_VALUE, Value, read_value
from elaunch_spawn_local.local import LocalSpawner


@pytest.mark.asyncio
async def test_a_module_that_only_the_agents_path_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elaunch_test_module.py").write_text("def answer(): return 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import elaunch_test_module  # type: ignore[import-not-found]  # made just now

    entry = FunctionEntry(elaunch_test_module.answer, (), "answer")
    async with started(LocalSpawner("job"), entry) as group:
        ended = (await exits(group))[0]
    sys.modules.pop("elaunch_test_module")

    assert ended.value == 42


@pytest.mark.asyncio
async def test_files_of_the_current_directory_shadow_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("raise ImportError('the wrong one')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])

    async with started(LocalSpawner("job"), FunctionEntry(str, (3,), "str")) as group:
        ended = (await exits(group))[0]

    assert ended.value == "3"


@pytest.mark.asyncio
async def test_a_function_of_a_module_that_workers_cant_import_travels_by_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "elaunch_test_gone.py"
    path.write_text("def answer(): return helper()\ndef helper(): return 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import elaunch_test_gone  # type: ignore[import-not-found]  # made just now

    path.unlink()
    entry = FunctionEntry(elaunch_test_gone.answer, (), "answer")
    async with started(LocalSpawner("job"), entry) as group:
        ended = (await exits(group))[0]
    sys.modules.pop("elaunch_test_gone")

    assert (ended.exitcode, ended.value) == (0, 42)


class Unrestorable:
    """Pickles well, and fails when it is unpickled."""

    def __call__(self) -> None:
        """Never get here."""

    def __reduce__(self) -> tuple[type[int], tuple[str]]:
        return int, ("not a number",)


@pytest.mark.asyncio
async def test_a_function_that_cant_be_restored_is_an_error_of_the_worker() -> None:
    entry = FunctionEntry(Unrestorable(), (), "unrestorable")
    async with started(LocalSpawner("job"), entry) as group:
        ended = (await exits(group))[0]

    assert ended.exitcode == 1
    assert ended.message.startswith("ValueError: invalid literal for int()")


@pytest.mark.asyncio
async def test_a_failure_after_the_return_is_a_failure() -> None:
    def plant() -> str:
        import atexit
        import os

        atexit.register(os._exit, 5)
        return "value"

    async with started(LocalSpawner("job"), FunctionEntry(plant, (), "plant")) as group:
        ended = (await exits(group))[0]

    assert (ended.failed, ended.exitcode, ended.value) == (True, 5, None)


@pytest.mark.asyncio
async def test_a_value_of_a_class_of_the_caller_comes_back_as_that_class() -> None:
    class Result:
        def __init__(self, number: int) -> None:
            self.number = number

    def make() -> Any:
        return Result(3)

    async with started(LocalSpawner("job"), FunctionEntry(make, (), "make")) as group:
        value = (await exits(group))[0].value

    assert isinstance(value, Result)
    assert value.number == 3


def test_no_result_is_no_value(tmp_path: Path) -> None:
    assert read_value(tmp_path / "missing") == Value(error=NO_VALUE)


def test_a_result_that_cant_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "result").write_bytes(b"no pickle")

    told = read_value(tmp_path / "result")

    assert told.value is None
    assert told.error.startswith("the function's value can't be read back: ")


@pytest.mark.asyncio
async def test_an_interrupt_that_nobody_handles_is_an_end_by_its_signal() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    entry = FunctionEntry(interrupted, (), "interrupted")
    async with started(LocalSpawner("job"), entry) as group:
        ended = (await exits(group))[0]

    assert (ended.failed, ended.exitcode) == (True, -2)
