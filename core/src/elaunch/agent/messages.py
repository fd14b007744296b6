"""What goes into the agent's machine and what comes out: stimuli and actions."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from elaunch.errors import NodeDrained
from elaunch.failures import ProcessFailure, Request, signal_name
from elaunch.monitor import Finding
from elaunch.notice import Notice
from elaunch.rendezvous import Change, Membership, NodeState, Outcome
from elaunch.workers import WorkerExit


# -- stimuli -------------------------------------------------------------------


class Begin(msgspec.Struct, frozen=True):
    """The agent starts."""


class Joined(msgspec.Struct, frozen=True):
    """This node is a member of a sealed generation."""

    membership: Membership


class JoinFailed(msgspec.Struct, frozen=True):
    """It can't become one."""

    error: Exception
    outcome: Outcome | None = None


class Started(msgspec.Struct, frozen=True):
    """All workers of this node run."""

    pids: Mapping[int, int]


class StartFailed(msgspec.Struct, frozen=True):
    """The workers can't be started; none runs."""

    error: Exception


class Exited(msgspec.Struct, frozen=True):
    """A worker ended."""

    exit: WorkerExit


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A monitor found something.

    Attributes:
        finding: What.
        monitor: Name of the monitor.
        pid: Process id of the worker; 0 if it is about none.
        timestamp: When, in Unix seconds.
        stacks: Files with the stacks of the node's workers, for a hang.
        uptime: Seconds for which the workers had run; `None` if nobody knows.
    """

    finding: Finding
    monitor: str
    pid: int
    timestamp: float
    stacks: tuple[str, ...] = ()
    uptime: float | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A worker asks for something beyond a restart.

    Attributes:
        request: What for.
        local_rank: Who.
        pid: Its process id.
        timestamp: When, in Unix seconds.
        reason: Why, in one line; or empty.
    """

    request: Request
    local_rank: int
    pid: int
    timestamp: float
    reason: str = ""


class Changed(msgspec.Struct, frozen=True):
    """Something happened to the membership."""

    change: Change


class Signalled(msgspec.Struct, frozen=True):
    """The agent got a signal that ends it.

    Attributes:
        signum: The signal.
        notice: What the job is to know, where the signal means that the node is taken
            away.
    """

    signum: int
    notice: Notice | None = None

    @property
    def reason(self) -> str:
        """Name of the signal."""
        return signal_name(self.signum)


class Drained(msgspec.Struct, frozen=True):
    """The agent was told that its node is to leave the job.

    Attributes:
        reason: Why, in one line.
    """

    reason: str


class Noticed(msgspec.Struct, frozen=True):
    """The agent was told that its node will be taken away."""

    notice: Notice


class Announced(msgspec.Struct, frozen=True):
    """The job lets the workers of this generation know of something."""

    notice: Notice


class Stopped(msgspec.Struct, frozen=True):
    """No process of the workers is alive, but for those that can't be killed.

    Attributes:
        left: Ids of these.
    """

    left: tuple[int, ...] = ()


class Waited(msgspec.Struct, frozen=True):
    """This node's workers are done, and it has waited long enough for the others'."""


class Left(msgspec.Struct, frozen=True):
    """The goodbye is said."""


Stimulus = (
    Begin
    | Joined
    | JoinFailed
    | Started
    | StartFailed
    | Exited
    | Found
    | Asked
    | Changed
    | Signalled
    | Drained
    | Noticed
    | Announced
    | Stopped
    | Waited
    | Left
)


# -- actions -------------------------------------------------------------------


class Join(msgspec.Struct, frozen=True):
    """Become a member of the next generation."""


class Start(msgspec.Struct, frozen=True):
    """Bootstrap and start the workers; watch them and the membership."""

    membership: Membership


class Report(msgspec.Struct, frozen=True):
    """Tell the job how this node's workers are."""

    state: NodeState
    failures: tuple[ProcessFailure, ...] = ()


class Announce(msgspec.Struct, frozen=True):
    """Let the workers of all nodes of this generation know of a notice."""

    notice: Notice


class Notify(msgspec.Struct, frozen=True):
    """Let this node's workers know of a notice."""

    notice: Notice


class Retire(msgspec.Struct, frozen=True):
    """Tell the job that this node leaves once its workers have stopped."""

    reason: str


class Stop(msgspec.Struct, frozen=True):
    """Stop the workers, or whatever of them has started.

    Attributes:
        reason: Why, in one line.
        grace: Most seconds they get, where the usual grace would be too long.
        failed: Whether a worker of the job failed, here or on another node.
        preemption: The notice of preemption that is in effect, if any.
    """

    reason: str
    grace: float = math.inf
    failed: bool = False
    preemption: Notice | None = None


class Kill(msgspec.Struct, frozen=True):
    """Cut the stop short: kill what is alive."""


class Leave(msgspec.Struct, frozen=True):
    """Say goodbye to the job; give up a join that is under way."""

    reason: str


class Finish(msgspec.Struct, frozen=True):
    """The agent is done."""

    result: "Result"


Action = (
    Join | Start | Report | Announce | Notify | Retire | Stop | Kill | Leave | Finish
)


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How the agent ended.

    Attributes:
        values: What this node's workers returned, by global rank, on success.
        error: Why the job or the agent failed; `None` on success.
        early: Whether this node's workers succeeded and it did not wait for the others.
    """

    values: Mapping[int, Any] = msgspec.field(default_factory=dict)
    error: Exception | None = None
    early: bool = False

    @property
    def failed(self) -> bool:
        """Whether it ended badly; a node that was told to leave has not."""
        return self.error is not None and not isinstance(self.error, NodeDrained)
