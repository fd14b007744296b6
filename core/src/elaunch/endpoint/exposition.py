"""What an agent has told so far as numbers for Prometheus."""

from collections.abc import Iterator, Sequence

import attrs
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.registry import Collector

from elaunch.endpoint.book import ENDINGS, Contents
from elaunch.endpoint.identity import Identity
from elaunch.endpoint.states import STATES
from elaunch.endpoint.status import Facts, state_of, workers_of
from elaunch.events import EventName


__all__ = ["CONTENT_TYPE", "exposition"]


@attrs.frozen(eq=False)
class _Agent(Collector):
    """Everything about one agent at one time.

    Attributes:
        identity: Whose numbers they are.
        contents: What it has told.
        now: The time, in Unix seconds.
        clock: The time on the clock of its loop.
    """

    identity: Identity
    contents: Contents
    now: float
    clock: float

    def collect(self) -> Iterator[Metric]:
        """Yield the numbers."""
        identity = self.identity
        info = {"agent": identity.agent, "version": identity.version}
        yield InfoMetricFamily(
            "elaunch_agent", "The agent.", {"run_id": identity.run_id, **info}
        )
        state, _ = state_of(self.contents)
        words = {word: word == state for word in dict.fromkeys(STATES.values())}
        told = StateSetMetricFamily(
            "elaunch_agent_state", "What it does.", labels=["run_id"]
        )
        told.add_metric([identity.run_id], words)
        yield told
        yield from self._place()
        yield from self._counters()
        yield from self._workers()

    def _place(self) -> Iterator[Metric]:
        joined = self.contents.latest.get(EventName.GENERATION_JOINED)
        if joined:
            for key, meaning in _PLACE.items():
                yield self._gauge(key, meaning, float(str(joined.metadata[key])))
            took = float(str(joined.metadata["duration_ms"])) / 1000
            meaning = "How long the last join took."
            yield self._gauge("join_seconds", meaning, took)
        most = float(self.identity.max_restarts)
        yield self._gauge("max_restarts", "Restart budget of the job.", most)
        if self.contents.progress is not None:
            meaning = "The farthest marker that a worker of this node has told."
            yield self._gauge("progress", meaning, self.contents.progress)

    def _counters(self) -> Iterator[Metric]:
        counts = self.contents.counts
        joins = CounterMetricFamily(
            "elaunch_generations", "Generations it was a member of.", labels=["run_id"]
        )
        joins.add_metric(
            [self.identity.run_id], counts.get(EventName.GENERATION_JOINED, 0)
        )
        yield joins
        ends = CounterMetricFamily(
            "elaunch_worker_ends", "Workers that ended.", labels=["run_id", "how"]
        )
        for name in sorted(ENDINGS):
            how = name.removeprefix("worker.")
            ends.add_metric([self.identity.run_id, how], counts.get(name, 0))
        yield ends
        found = CounterMetricFamily(
            "elaunch_findings",
            "What monitors found.",
            labels=["run_id", "monitor", "severity"],
        )
        for (monitor, severity), count in sorted(self.contents.findings.items()):
            found.add_metric([self.identity.run_id, monitor, severity], count)
        yield found

    def _workers(self) -> Iterator[Metric]:
        workers = workers_of(self.contents, self.now, self.clock)
        yield self._of_workers(
            "up",
            "Whether a worker runs.",
            [(w, w["state"] == "running") for w in workers],
        )
        for key, (name, meaning) in _OF_WORKERS.items():
            known = [(w, w[key]) for w in workers if w[key] is not None]
            yield self._of_workers(name, meaning, known)

    def _of_workers(
        self, name: str, meaning: str, values: Sequence[tuple[Facts, float]]
    ) -> Metric:
        labels = ["run_id", "rank", "local_rank"]
        family = GaugeMetricFamily(f"elaunch_worker_{name}", meaning, labels=labels)
        for worker, value in values:
            ranks = str(worker["rank"]), str(worker["local_rank"])
            family.add_metric([self.identity.run_id, *ranks], value)
        return family

    def _gauge(self, name: str, meaning: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"elaunch_{name}", meaning, labels=["run_id"])
        family.add_metric([self.identity.run_id], value)
        return family


_PLACE = {
    "generation": "Number of the last generation it was a member of.",
    "group_rank": "Rank of its node there.",
    "group_size": "Nodes of that generation.",
    "world_size": "Workers of that generation.",
    "restart_count": "Restarts that the job had spent on failures.",
}

_OF_WORKERS = {
    "uptime": ("uptime_seconds", "For how long a worker runs, or has run."),
    "heartbeat_age": (
        "heartbeat_age_seconds",
        "Time since its last heartbeat, or from that to its end.",
    ),
    "step": ("step", "The last step that it told."),
    "step_time": ("step_seconds", "How long that took."),
}
"""Facts of a worker -> name and meaning of their metric."""


def exposition(
    identity: Identity, contents: Contents, now: float, clock: float
) -> bytes:
    """Return the numbers in the text format of Prometheus.

    Args:
        identity: Whose numbers they are.
        contents: What the agent has told.
        now: The time, in Unix seconds.
        clock: The time on the clock of its loop.
    """
    registry = CollectorRegistry()
    registry.register(_Agent(identity, contents, now, clock))
    ProcessCollector(registry=registry)
    return generate_latest(registry)
