"""What a decision depends on: the job and its nodes as the coordinator sees them."""

import functools
import math
from collections import Counter
from collections.abc import Mapping

import attrs

from elaunch.failures import ProcessFailure
from elaunch.membership.exclusions import Exclusion
from elaunch.membership.holding import Hold, WorkerKey
from elaunch.membership.ranks import Candidate
from elaunch.membership.records import (
    JobRecord,
    NodePhase,
    NodeRecord,
    agent_of,
)
from elaunch.policy import PastFailure
from elaunch.vitals import ToldFinding


@attrs.frozen(kw_only=True)
class Node:
    """A node as the coordinator sees it."""

    node_id: str
    joined: int
    record: NodeRecord


@attrs.frozen(kw_only=True)
class View:
    """All that a decision depends on, but time.

    Attributes:
        job: The job's record.
        nodes: The living nodes by id.
        members: Group rank by node id in the generation that is sealed, or in the one
            before the generation that is forming.
        hosts: Host of each member, for reasons after it is gone.
        left: Why members left that are gone since.
        done: Members that reported ``DONE`` for the sealed generation, also if gone.
        failed: Members that reported failures of their generation, also if gone.
        answered: Members that said that they had stopped, and are gone since.
        preempted: Members with workers that ended for a preemption, also if gone.
        charged: Whether who looks at this has counted a failure of that generation.
        history: The failures that were counted so far.
        time: The time in Unix seconds, on the clock of exclusions.
        progress: The farthest marker of any worker so far; `None` for none.
        findings: What monitors found last in the generation of the members.
        holds: The holds of workers of the members, as far as is known.
        held_since: Since when the scaling that is due is put off; `None` if it is not.
        met: The number of each worker's hold that it has met.
        came: When each node came.
        grown_since: When the job last formed anew for nodes that joined, as far as who
            looks at this knows.
        delayed_since: When the delay of the forming generation began.
        failing_since: When the first of them was heard of, `None` before that.
        forming_since: When the coordinator first saw this generation forming.
        quorum_since: When the minimum was first there, `None` while it is not.
    """

    job: JobRecord
    nodes: Mapping[str, Node]
    members: Mapping[str, int]
    hosts: Mapping[str, str]
    left: Mapping[str, str] = attrs.field(factory=dict)
    done: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()
    answered: frozenset[str] = frozenset()
    preempted: frozenset[str] = frozenset()
    charged: bool = False
    history: tuple[PastFailure, ...] = ()
    time: float = 0.0
    progress: float | None = None
    findings: tuple[ToldFinding, ...] = ()
    holds: tuple[Hold, ...] = ()
    held_since: float | None = None
    met: Mapping[WorkerKey, int] = attrs.field(factory=dict)
    came: Mapping[str, float] = attrs.field(factory=dict)
    grown_since: float = -math.inf
    delayed_since: float = 0.0
    failing_since: float | None = None
    forming_since: float = 0.0
    quorum_since: float | None = None

    def is_here(self, node_id: str) -> bool:
        """Whether a node is alive and stays."""
        node = self.nodes.get(node_id)
        return node is not None and node.record.phase is not NodePhase.LEAVING

    def is_admitted(self, node: Node) -> bool:
        """Whether a node stays and its settings are the job's."""
        return (
            node.record.phase is not NodePhase.LEAVING
            and node.record.settings == self.job.settings
        )

    def has_stopped(self, node_id: str) -> bool:
        """Whether a member runs no workers of its generation any more."""
        record = self.nodes[node_id].record
        return (
            record.phase is NodePhase.READY and record.generation >= self.job.members_of
        )

    def stopping(self) -> list[str]:
        """Return the members that may still run workers of their generation.

        One that says goodbye is among them: it is gone when its record is.
        """
        return [m for m in self.members if m in self.nodes and not self.has_stopped(m)]

    def idle(self) -> list[str]:
        """Return the members that are here and run nothing, for whatever reason."""
        return [m for m in self.members if self.is_here(m) and self.has_stopped(m)]

    def name_of(self, node_id: str) -> str:
        """Return a node's name among the nodes of the job.

        It is the host, so that whatever starts there is the same node; where several
        nodes of the job share it, the agent.
        """
        node = self.nodes.get(node_id)
        host = node.record.facts.host if node else self.hosts[node_id]
        return agent_of(node_id) if host in self._shared_hosts else host

    def exclusion_of(self, node_id: str) -> Exclusion | None:
        """Return why the job leaves a node out now, `None` if it does not."""
        if not self.job.excluded:
            return None
        node = self.nodes.get(node_id)
        host = node.record.facts.host if node else self.hosts.get(node_id, "")
        return self.job.exclusion_of(node_id, host, self.time)

    def barred(self) -> set[str]:
        """Return the nodes and members that can't come again."""
        excluded = ((n, self.exclusion_of(n)) for n in {*self.nodes, *self.members})
        return {n for n, why in excluded if why and why.until is None}

    def restarts(self) -> list[str]:
        """Return the members that ask for their generation to end."""
        return [m for m in self.members if self.is_here(m) and self.why_restart(m)]

    def why_restart(self, node_id: str) -> str:
        """Return why a member asks for its generation to end; empty if it does not."""
        node = self.nodes.get(node_id)
        asks = node is not None and node.record.generation == self.job.members_of
        return node.record.restart if node and asks else ""

    def candidates(self) -> tuple[Candidate, ...]:
        """Return the nodes that are ready for the next generation."""
        before = self._ranks_of_absent_agents()
        return tuple(
            Candidate(
                node_id=node.node_id,
                facts=node.record.facts,
                joined=node.joined,
                previous_rank=self.members.get(
                    node.node_id, before.get(agent_of(node.node_id)) if before else None
                ),
            )
            for node in self.nodes.values()
            if node.record.phase is NodePhase.READY
            and not node.record.unfit
            and not self.exclusion_of(node.node_id)
            and self.is_admitted(node)
            and (node.node_id not in self.members or self.has_stopped(node.node_id))
        )

    def newcomers(self) -> tuple[Candidate, ...]:
        """Return the candidates that are not members of the sealed generation."""
        return tuple(c for c in self.candidates() if c.node_id not in self.members)

    def gone(self) -> list[str]:
        """Return the members that are gone and were not done."""
        return [m for m in self.members if m not in self.done and not self.is_here(m)]

    def causes(self) -> list[str]:
        """Return the members that are gone, and whose loss explains failures of others.

        Not those that failed themselves, nor those that were there to say that they
        had stopped.
        """
        return [m for m in self.gone() if m not in self.failed | self.answered]

    def suspects(self) -> list[str]:
        """Return the members that could be lost without anybody knowing it yet."""
        known = self.failed | self.answered | self.done
        return [m for m in self.members if m not in known]

    def departed(self) -> list[str]:
        """Return the members whose agents are gone: none of them is here again."""
        agents = {agent_of(node_id) for node_id in self.nodes if self.is_here(node_id)}
        return [m for m in self.members if agent_of(m) not in agents]

    def said_goodbye(self) -> list[str]:
        """Return the departed members that said so: they don't come back."""
        return [m for m in self.departed() if self.why_left(m) is not None]

    def why_left(self, node_id: str) -> str | None:
        """Return why a member said goodbye, `None` if it did not."""
        node = self.nodes.get(node_id)
        if node and node.record.phase is NodePhase.LEAVING:
            return node.record.reason
        return self.left.get(node_id)

    def failures(self) -> tuple[ProcessFailure, ...]:
        """Return what the members report of their generation, stopped or not."""
        return tuple(
            attrs.evolve(failure, node=self.name_of(node_id))
            for node_id in self.members
            if (node := self.nodes.get(node_id)) is not None
            and node.record.phase in (NodePhase.FAILED, NodePhase.READY)
            and node.record.generation == self.job.members_of
            for failure in node.record.failures
        )

    @functools.cached_property
    def _shared_hosts(self) -> frozenset[str]:
        """Hosts of several nodes of the job."""
        hosts = {agent_of(m): self.hosts[m] for m in self.members if m in self.hosts}
        for node_id, node in self.nodes.items():
            hosts[agent_of(node_id)] = node.record.facts.host
        counts = Counter(hosts.values())
        return frozenset(host for host, count in counts.items() if count > 1)

    def _ranks_of_absent_agents(self) -> dict[str, int]:
        """Return the ranks that agents had which may be here again under another id."""
        return {
            agent_of(node_id): rank
            for node_id, rank in self.members.items()
            if node_id not in self.nodes
        }
