"""What happened in a run, as plain values."""

from collections.abc import Mapping, Sequence

import attrs


@attrs.frozen(kw_only=True)
class Worker:
    """One worker of one generation.

    Attributes:
        rank: Its global rank.
        node: Label of its node.
        pid: Its process id.
        started: When it started, as its agent saw it.
        ended: When it ended, `None` if nobody told.
        end: How: ``succeeded``, ``failed``, ``terminated``, ``preempted``, or empty.
        remark: Exit code or signal, message and location of a failure.
    """

    rank: int
    node: str
    pid: int
    started: float
    ended: float | None = None
    end: str = ""
    remark: str = ""


@attrs.frozen(kw_only=True)
class Phase:
    """How long one phase took.

    Attributes:
        name: Which.
        seconds: How long, on the node where it took longest.
        node: That node; empty where several clocks count.
    """

    name: str
    seconds: float
    node: str = ""


@attrs.frozen(kw_only=True)
class Generation:
    """One generation.

    Attributes:
        number: Its number.
        reason: Why it was formed.
        restarts: Restarts the job had spent.
        world_size: Its workers.
        nodes: Label of each node, by group rank, with the ranks of its workers.
        workers: The workers that started.
        began: When its first member joined.
        ended: When the last thing happened in it.
        phases: How long each phase took, in order.
        stopped_for: Why its workers were stopped, or empty.
        findings: What monitors found.
        decisions: What the restart policy decided about it, if no mere restart.
    """

    number: int
    reason: str
    restarts: int
    world_size: int
    nodes: Mapping[str, Sequence[int]]
    workers: Sequence[Worker]
    began: float
    ended: float
    phases: Sequence[Phase]
    stopped_for: str = ""
    findings: Sequence[str] = ()
    decisions: Sequence[str] = ()

    def failures(self) -> list[Worker]:
        """Return the workers that failed, the earliest first."""
        failed = [worker for worker in self.workers if worker.end == "failed"]
        return sorted(failed, key=lambda worker: worker.ended or 0)


@attrs.frozen(kw_only=True)
class Run:
    """One life of a job: another begins with the first generation again.

    Attributes:
        run_id: Id of the job.
        life: Which of its lives; the first is 1.
        lives: How many there are.
        nodes: Label of each agent that told something.
        began: When the first event happened.
        ended: When the last did.
        outcome: ``succeeded``, ``failed``, ``handed back``, with which exit code it
            ended else, or empty where nobody told.
        root_cause: Of a failed job.
        report: Where its report is.
        generations: In order.
        remarks: What else is worth to be known.
    """

    run_id: str
    life: int = 1
    lives: int = 1
    nodes: Sequence[str]
    began: float
    ended: float
    outcome: str
    root_cause: str
    report: str
    generations: Sequence[Generation]
    remarks: Sequence[str]
