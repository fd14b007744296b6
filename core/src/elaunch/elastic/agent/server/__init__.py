"""An agent as a value: what it runs, and how that ended."""

from elaunch.elastic.agent.server.api import RunResult, WorkerSpec, WorkerState
from elaunch.elastic.agent.server.local_elastic_agent import LocalElasticAgent


__all__ = ["LocalElasticAgent", "RunResult", "WorkerSpec", "WorkerState"]
