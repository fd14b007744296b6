"""What workers tell of their place in the job, and whether they agree."""

from collections.abc import Callable, Sequence

from agents import Agent


SHOW = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
print("generation", os.environ["ELAUNCH_GENERATION"], "rank", os.environ["RANK"],
      "of", os.environ["WORLD_SIZE"], "restarts", os.environ["ELAUNCH_RESTART_COUNT"],
      "store", os.environ["MASTER_ADDR"] + ":" + os.environ["MASTER_PORT"], flush=True)
signal.sigwait({signal.SIGTERM})
if "STUBBORN" in os.environ:
    print("told to stop", flush=True)
    signal.sigwait({signal.SIGUSR1})
"""
"""A worker that tells where it stands, then waits until it is told to stop.

With `STUBBORN` in its environment it goes on until it gets SIGUSR1.
"""

LINE = r"generation (\d+) rank (\d+) of (\d+) restarts (\d+) store (\S+)"

Script = Callable[[str], str]


def places_in(
    agents: Sequence[Agent], generation: int, workers: int = 1
) -> list[tuple[str, ...]]:
    """Wait for all workers of a generation, so many on each node.

    Returns:
        Rank, world size, restart count and store of each, sorted.
    """
    places = []
    pattern = LINE.replace(r"(\d+) rank", f"{generation} rank", 1)
    for agent in agents:
        places += [found.groups() for found in agent.wait_for(pattern, count=workers)]
    return sorted(places)


def assert_agree(places: list[tuple[str, ...]], restarts: int = 0) -> None:
    """All workers see one size, one counter and one store, and each rank once."""
    size = str(len(places))

    assert [rank for rank, *_ in places] == [str(n) for n in range(len(places))]
    assert {place[1] for place in places} == {size}
    assert {place[2] for place in places} == {str(restarts)}
    assert len({place[3] for place in places}) == 1
