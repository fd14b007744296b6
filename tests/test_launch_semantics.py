"""What programs that were written for torchelastic's `elastic_launch` count on."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest
from work import odd_ranks_fail, rank

from elaunch import ChildFailedError, LaunchConfig, UsageError, elastic_launch
from elaunch.events import Event


def config(workers: int = 1, **changes: Any) -> LaunchConfig:
    return LaunchConfig(
        **{"min_nodes": 1, "max_nodes": 1, "nproc_per_node": workers, **changes}
    )


@attrs.define(eq=False)
class Kept:
    events: list[Event] = attrs.field(factory=list)

    def record(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        """Nothing is held."""

    def names(self) -> Counter[str]:
        return Counter(event.name for event in self.events)


def test_each_of_two_agents_returns_the_values_of_its_own_workers(
    endpoint: str,
) -> None:
    node = config(2, min_nodes=2, max_nodes=2, run_id="job", rdzv_endpoint=endpoint)
    with ThreadPoolExecutor(2) as pool:
        agents = [pool.submit(elastic_launch(node, rank)) for _ in range(2)]
        values = sorted((agent.result(timeout=50) for agent in agents), key=min)

    assert values == [{0: 0, 1: 1}, {2: 2, 3: 3}]


def test_a_command_is_called_after_its_program() -> None:
    with pytest.raises(ChildFailedError) as caught:
        elastic_launch(config(max_restarts=0), "sh")("-c", "exit 3")

    assert (caught.value.name, caught.value.status) == ("sh", 3)


def test_arguments_of_a_program_become_text() -> None:
    assert elastic_launch(config(max_restarts=0), "test")(1, "-eq", 1) == {0: None}


def test_a_failed_job_is_one_event() -> None:
    kept = Kept()
    with pytest.raises(ChildFailedError):
        elastic_launch(config(2, max_restarts=0), "false", recorders=[kept])()

    names = kept.names()
    assert (names["job.failed"], names["agent.finished"]) == (1, 1)
    assert names["job.succeeded"] == 0


def test_a_launch_that_fails_before_its_agent_runs_tells_its_end_once() -> None:
    kept = Kept()
    with pytest.raises(UsageError, match="--local-addr is a name") as caught:
        elastic_launch(config(local_addr="not an address"), rank, recorders=[kept])()

    assert kept.names() == {"agent.finished": 1}
    assert kept.events[0].metadata["status"] == caught.value.status == 2


def test_nothing_of_a_job_is_left_in_the_launchers_environment() -> None:
    before = dict(os.environ)
    elastic_launch(config(2), rank)()

    assert dict(os.environ) == before


def test_ranks_that_fail_each_time_exhaust_the_budget(tmp_path: Path) -> None:
    with pytest.raises(ChildFailedError) as caught:
        elastic_launch(config(2, max_restarts=2), odd_ranks_fail)(str(tmp_path))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
    first, failure = caught.value.get_first_failure()
    assert (first, failure.message) == (1, "ValueError: odd")
