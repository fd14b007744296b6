"""The agent's metrics: which events give rise to which."""

import json

import pytest

from elaunch.agent.measuring import Measuring
from elaunch.api import Event, EventName, MetricData, MetricHandler


class Keeper(MetricHandler):
    def __init__(self) -> None:
        self.kept: list[MetricData] = []

    def emit(self, metric_data: MetricData) -> None:
        self.kept.append(metric_data)


class Story:
    """An agent whose every event comes a second after the one before."""

    def __init__(self, max_restarts: int = 3) -> None:
        self.now = 0.0
        self.keeper = Keeper()
        self._measuring = Measuring(
            handler=self.keeper,
            role="trainer",
            max_restarts=max_restarts,
            clock=lambda: self.now,
        )

    def tell(self, *names: EventName, **metadata: str | int) -> None:
        for name in names:
            self.now += 1
            self._measuring.record(Event(name=name, run_id="job", metadata=metadata))

    def forms(self, restart_count: int = 0) -> None:
        self.tell(EventName.GENERATION_JOINED, restart_count=restart_count)
        self.tell(EventName.BOOTSTRAP_READY, EventName.GROUP_STARTED)

    def ends(self, error: str = "") -> None:
        self.tell(EventName.JOB_FAILED if error else EventName.JOB_SUCCEEDED)
        self.tell(EventName.AGENT_FINISHED, error=error)

    def said(self) -> dict[str, float]:
        said = {data.name: data.value for data in self.keeper.kept}
        self.keeper.kept.clear()
        return said


STARTS = (EventName.AGENT_STARTED, EventName.RENDEZVOUS_JOINING)
STOPS = (EventName.GROUP_STOPPING, EventName.GROUP_STOPPED)


def test_a_good_run_puts_each_phase_and_the_outcome() -> None:
    story = Story()
    story.tell(*STARTS)
    story.forms()
    story.tell(EventName.GROUP_SUCCEEDED)
    story.ends()

    assert story.said() == {
        "SimpleElasticAgent._rendezvous.success": 1,
        "SimpleElasticAgent._rendezvous.duration.ms": 2000,
        "SimpleElasticAgent._assign_worker_ranks.success": 1,
        "SimpleElasticAgent._assign_worker_ranks.duration.ms": 1000,
        "LocalElasticAgent._start_workers.success": 1,
        "LocalElasticAgent._start_workers.duration.ms": 1000,
        "SimpleElasticAgent._initialize_workers.success": 1,
        "SimpleElasticAgent._initialize_workers.duration.ms": 4000,
        "SimpleElasticAgent.run.success": 1,
        "SimpleElasticAgent.run.duration.ms": 7000,
        "workers.trainer.healthy": 1,
        "workers.trainer.succeeded": 1,
        "workers.trainer.remaining_restarts": 3,
        "workers.trainer.flakiness": 0,
        "workers.trainer.run_total": 1,
        "workers.trainer.run_success_no_retries": 1,
        "workers.trainer.run_success_with_retries": 0,
        "workers.trainer.run_failed_no_retries": 0,
        "workers.trainer.run_failed_with_retries": 0,
    }


def test_a_restart_is_measured_from_the_stop_to_the_start() -> None:
    story = Story()
    story.tell(*STARTS)
    story.forms()
    story.said()
    story.tell(EventName.WORKER_FAILED, EventName.WORKER_FAILED)
    assert story.said() == {
        "workers.trainer.remaining_restarts": 3,
        "workers.trainer.failed": 1,
    }

    story.tell(*STOPS)
    story.forms(restart_count=1)
    assert story.said() == {
        "LocalElasticAgent._stop_workers.success": 1,
        "LocalElasticAgent._stop_workers.duration.ms": 1000,
        "SimpleElasticAgent._rendezvous.success": 1,
        "SimpleElasticAgent._rendezvous.duration.ms": 1000,
        "SimpleElasticAgent._assign_worker_ranks.success": 1,
        "SimpleElasticAgent._assign_worker_ranks.duration.ms": 1000,
        "LocalElasticAgent._start_workers.success": 1,
        "LocalElasticAgent._start_workers.duration.ms": 1000,
        "SimpleElasticAgent._initialize_workers.success": 1,
        "SimpleElasticAgent._initialize_workers.duration.ms": 3000,
        "SimpleElasticAgent._restart_workers.success": 1,
        "SimpleElasticAgent._restart_workers.duration.ms": 4000,
        "workers.trainer.healthy": 1,
        "workers.trainer.remaining_restarts": 2,
    }
    story.ends()
    said = story.said()
    assert said["workers.trainer.run_success_with_retries"] == 1
    assert said["workers.trainer.flakiness"] == 25


@pytest.mark.parametrize(
    ("max_restarts", "spent", "flakiness"),
    [(3, 0, 0), (3, 3, 75), (0, 0, 0), (2, 1, 33), (7, 5, 62)],
)
def test_flakiness_is_the_part_of_the_budget_that_was_spent(
    max_restarts: int, spent: int, flakiness: int
) -> None:
    story = Story(max_restarts)
    story.tell(*STARTS)
    story.forms(restart_count=spent)
    story.ends()

    assert story.said()["workers.trainer.flakiness"] == flakiness


@pytest.mark.parametrize(("spent", "how"), [(0, "no"), (3, "with")])
def test_a_failed_job_is_wholly_flaky_and_its_run_a_failure(
    spent: int, how: str
) -> None:
    story = Story()
    story.tell(*STARTS)
    story.forms(restart_count=spent)
    story.tell(EventName.WORKER_FAILED, *STOPS)
    story.said()
    story.ends(error="rank 0 failed")

    assert story.said() == {
        "workers.trainer.flakiness": 100,
        "workers.trainer.run_total": 1,
        "workers.trainer.run_success_no_retries": 0,
        "workers.trainer.run_success_with_retries": 0,
        "workers.trainer.run_failed_no_retries": int(how == "no"),
        "workers.trainer.run_failed_with_retries": int(how == "with"),
        "SimpleElasticAgent.run.failure": 1,
        "SimpleElasticAgent.run.duration.ms": 9000,
    }


def test_a_rendezvous_that_fails_is_told_and_no_outcome_of_workers() -> None:
    story = Story()
    story.tell(*STARTS)
    story.tell(EventName.AGENT_FINISHED, error="timed out")
    said = story.said()

    assert said["SimpleElasticAgent._rendezvous.failure"] == 1
    assert said["SimpleElasticAgent._initialize_workers.failure"] == 1
    assert said["SimpleElasticAgent.run.failure"] == 1
    assert not [name for name in said if name.startswith("workers.")]


def test_workers_that_can_not_be_started_are_told() -> None:
    story = Story()
    story.tell(*STARTS)
    story.tell(EventName.GENERATION_JOINED, restart_count=0)
    story.tell(EventName.BOOTSTRAP_READY)
    story.tell(EventName.AGENT_FINISHED, error="no such program")

    assert story.said()["LocalElasticAgent._start_workers.failure"] == 1


def test_a_finding_counts_if_it_is_unhealthy() -> None:
    story = Story()
    story.tell(EventName.MONITOR_FINDING, severity="degraded")
    assert story.said() == {}

    story.tell(EventName.MONITOR_FINDING, severity="unhealthy")
    assert story.said()["workers.trainer.unhealthy"] == 1


def test_what_is_put_can_be_written_as_json() -> None:
    story = Story()
    story.tell(*STARTS)
    story.forms()

    assert json.loads(json.dumps(story.keeper.kept))[0][1] == "torchelastic"
