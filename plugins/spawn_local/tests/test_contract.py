"""Plugin and spawner keep their contracts, by whatever method workers are started."""

from pathlib import Path

import pytest

from elaunch.api import (
    Feed,
    OutputBlock,
    Spawner,
    StackSettings,
    StartMethod,
    StartSettings,
)
from elaunch.testing import PluginContract, SpawnerContract
from elaunch.testing.spawner_functions import FunctionTests
from elaunch_spawn_local.local import LocalSpawner


class TestPlugin(PluginContract):
    entry_point = "spawn_local"
    backends = frozenset(
        {
            *(("spawner", "local"), ("monitor", "process")),
            *(("log layout", "default"), ("log layout", "logs-specs")),
        }
    )
    heavy_modules = (
        *("psutil", "cloudpickle", "tempfile", "ctypes"),
        *("elaunch_spawn_local.local", "elaunch_spawn_local.process_monitor"),
        "elaunch_spawn_local.output.layout",
    )


class TestSpawn(SpawnerContract):
    @pytest.fixture
    def spawner(self, tmp_path: Path, feed: Feed[OutputBlock]) -> Spawner:
        stacks = StackSettings(directory=str(tmp_path / "stacks"))
        return LocalSpawner("job", stacks=stacks, output_feed=feed)


class TestWarm(SpawnerContract):
    supports_programs = False

    @pytest.fixture
    def spawner(self, tmp_path: Path, feed: Feed[OutputBlock]) -> Spawner:
        warm = StartSettings(method=StartMethod.WARM)
        stacks = StackSettings(directory=str(tmp_path / "stacks"))
        return LocalSpawner("job", warm, stacks=stacks, output_feed=feed)


class TestFork(FunctionTests):
    sends_functions = False

    @pytest.fixture
    def spawner(self) -> Spawner:
        return LocalSpawner("job", StartSettings(method=StartMethod.FORK))
