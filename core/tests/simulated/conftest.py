"""Whatever is asynchronous in this folder runs in a simulated loop."""

from collections.abc import Callable, Mapping

from elaunch.testing.simulation import SimulatedLoop


SEED = 7


def new_loop() -> SimulatedLoop:
    return SimulatedLoop(SEED)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], SimulatedLoop]]:
    return {"simulated": new_loop}
