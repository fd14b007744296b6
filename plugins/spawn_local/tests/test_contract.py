"""Plugin and spawner keep their contracts, whatever tells the spawner of exits."""

import pytest

from elaunch.api import Spawner
from elaunch.testing import PluginContract, SpawnerContract
from elaunch_spawn_local.exit_watcher import PidfdWatcher, ThreadWatcher
from elaunch_spawn_local.local import LocalSpawner


class TestPlugin(PluginContract):
    entry_point = "spawn_local"
    backends = frozenset({("spawner", "local"), ("monitor", "process")})
    heavy_modules = (
        *("psutil", "cloudpickle", "tempfile", "ctypes"),
        *("elaunch_spawn_local.local", "elaunch_spawn_local.process_monitor"),
    )


@pytest.mark.skipif(not PidfdWatcher.available(), reason="no pidfds on this system")
class TestLocalSpawnerWithPidfds(SpawnerContract):
    @pytest.fixture
    def spawner(self) -> Spawner:
        return LocalSpawner("job", PidfdWatcher)


class TestLocalSpawnerWithThreads(SpawnerContract):
    @pytest.fixture
    def spawner(self) -> Spawner:
        return LocalSpawner("job", ThreadWatcher)
