"""What the plugin declares."""

import pytest

from elaunch.api import MonitorParameters, SpawnerParameters
from elaunch_spawn_local import plugin
from elaunch_spawn_local.local import LocalSpawner
from elaunch_spawn_local.options import ProcessMonitorOptions
from elaunch_spawn_local.process_monitor import ProcessMonitor


def test_it_provides_a_spawner() -> None:
    [local] = plugin.elaunch_register_spawners()

    assert local.name == "local"
    spawner = local.create(SpawnerParameters(run_id="job"), local.options_class()())
    assert isinstance(spawner, LocalSpawner)


def test_it_provides_a_monitor() -> None:
    [process] = plugin.elaunch_register_monitors()
    options = ProcessMonitorOptions(interval=1.0, max_rss=2)

    assert process.name == "process"
    monitor = process.create(MonitorParameters("job"), options)
    assert monitor == ProcessMonitor(1.0, 2)


@pytest.mark.parametrize(("of_all", "used"), [(0.1, 5.0), (7.0, 7.0)])
def test_without_an_interval_of_its_own_it_takes_a_longer_one_of_all(
    of_all: float, used: float
) -> None:
    [process] = plugin.elaunch_register_monitors()
    options = ProcessMonitorOptions(max_stuck=3.0)
    monitor = process.create(MonitorParameters("job", of_all), options)

    assert monitor == ProcessMonitor(used, 0, max_stuck=3.0)


@pytest.mark.parametrize("options", [{"interval": 0.0}, {"max_rss": -1}])
def test_options_are_checked(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ProcessMonitorOptions(**options)  # type: ignore[arg-type]  # wrong on purpose
