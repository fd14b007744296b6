"""Every error that elaunch raises on purpose, and how the command line ends for it.

::

    ElaunchError                        exit 1
    ├── UsageError (also ValueError)    exit 2    bad flag, option, file or platform
    ├── PluginError                     exit 3
    │   ├── UnknownBackend (also ValueError)
    │   ├── DuplicateBackend
    │   ├── PluginFailed
    │   └── InvalidProvider
    ├── RendezvousError                 exit 4
    │   ├── RendezvousTimeout           exit 6    too few nodes came in time
    │   ├── RendezvousClosed
    │   │   ├── RendezvousGracefulExit  exit 0    the job succeeded without this node
    │   │   └── QuorumLost              exit 7    too few nodes are left
    │   ├── RendezvousUnreachable
    │   ├── RendezvousCorrupt
    │   └── NodeNotAdmitted
    ├── SpawnError                      exit 5    a worker could not be started
    ├── WorkersLeft                     exit 1    workers that can't be killed
    ├── ControlFailed                   exit 1    an agent can't be asked, or refuses
    ├── NodeDrained                     exit 0    this node was told to leave its job
    ├── ChildFailedError                exit of the root cause, 128 + n for a signal n;
    │   │                               exit 8 where it has none of its own
    │   └── HandedBack                  exit 93   the scheduler is to go on
    ├── Preempted                       exit 75   the node or the job was preempted
    ├── SignalException                 exit 128 + n: the agent was told to stop
    └── InvalidTransition               exit 70   a bug of ours; carries its story

Anything else that escapes is a bug and keeps its traceback. Messages are lower-case,
take no full stop, quote names, and end with what to do where there is something to do.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs

from elaunch.failures import ProcessFailure, root_cause, signal_name, summary
from elaunch.text import nearest, quoted, suggestion


PREEMPTED_EXIT = 75
"""Exit code of whoever ends for a preemption, worker or agent (EX_TEMPFAIL)."""

HANDED_BACK_EXIT = 93
"""Exit code of a job that no restart of its own helps: its scheduler is to go on."""


class ElaunchError(Exception):
    """Base of all errors raised on purpose."""

    exit_code: ClassVar[int] = 1

    @property
    def status(self) -> int:
        """Exit status of a command that ends with this error."""
        return self.exit_code


class UsageError(ElaunchError, ValueError):
    """What the user asked for can't be done as asked."""

    exit_code: ClassVar[int] = 2


class PluginError(ElaunchError):
    """A plugin or backend can't be used."""

    exit_code: ClassVar[int] = 3


@attrs.frozen
class UnknownBackend(PluginError, ValueError):
    """No plugin provides a backend of this kind and name.

    Attributes:
        kind: Kind of backend, for example ``rendezvous``.
        name: The name that was asked for.
        installed: Names that exist.
        known: Names that a known distribution would provide, name -> distribution.
        blocked: Names of blocked plugins, which may be why.
        failed: ``plugin: reason`` of plugins that failed to load, which may be why.
        meant: What was meant if it was no name; empty for the nearest name.
    """

    kind: str
    name: str
    installed: Sequence[str]
    known: Mapping[str, str] = attrs.field(factory=dict)
    blocked: Sequence[str] = ()
    failed: Sequence[str] = ()
    meant: str = ""

    def __str__(self) -> str:
        names = {*self.installed, *self.known}
        what = self.kind if self.kind == "command" else f"{self.kind} backend"
        hint = f"; did you mean {self.meant!r}?" if self.meant else ""
        lines = [
            f"no {what} is named {self.name!r}"
            + (hint or suggestion(self.name, names - {self.name})),
            f"  installed: {quoted(self.installed)}",
        ]
        wanted = {self.name, *nearest(self.name, names)}
        lines += [
            f"  to get {name!r}: pip install {self.known[name]}"
            for name in sorted(wanted & self.known.keys() - set(self.installed))
        ]
        if self.blocked:
            lines.append(f"  blocked plugins: {quoted(self.blocked)}")
        lines += [f"  failed to load: {failure}" for failure in self.failed]
        return "\n".join(lines)


@attrs.frozen
class DuplicateBackend(PluginError):
    """Two distributions claim the same name.

    Attributes:
        kind: Kind of backend, or ``plugin`` for two entry points of one name.
        name: The name both claim.
        owners: ``plugin (distribution version)`` of each claimant.
        block: Name of a plugin to block to settle it, or empty where the two can't
            be told apart by name.
    """

    kind: str
    name: str
    owners: Sequence[str]
    block: str = ""

    def __str__(self) -> str:
        remedy = (
            f"block one with --block-plugin {self.block} "
            f"or ELAUNCH_BLOCK_PLUGINS={self.block}"
            if self.block
            else "uninstall one of them"
        )
        return (
            f"{self.kind} {self.name!r} is provided twice: "
            f"by {' and by '.join(self.owners)}; {remedy}"
        )


@attrs.frozen
class PluginFailed(PluginError):
    """A plugin that was asked for could not be loaded or could not build its backend.

    Attributes:
        plugin: Entry-point name of the plugin.
        distribution: Distribution and version it came from.
        reason: Type and text of what it raised.
        remedy: What to do now.
    """

    plugin: str
    distribution: str
    reason: str
    remedy: str = "run 'elaunch plugins -v' for the traceback"

    def __str__(self) -> str:
        return (
            f"plugin {self.plugin!r} of {self.distribution} failed: {self.reason}; "
            f"{self.remedy}"
        )


@attrs.frozen
class InvalidProvider(PluginError):
    """A plugin declared something that is not a provider.

    Attributes:
        plugin: Entry-point name of the plugin.
        rule: The rule that it broke.
    """

    plugin: str
    rule: str

    def __str__(self) -> str:
        return f"plugin {self.plugin!r} declares an invalid provider: {self.rule}"


class RendezvousError(ElaunchError):
    """The nodes could not meet, or lost each other."""

    exit_code: ClassVar[int] = 4


class RendezvousTimeout(RendezvousError):
    """Not enough nodes came within the join timeout."""

    exit_code: ClassVar[int] = 6


class RendezvousClosed(RendezvousError):
    """The job has already ended; its outcome is in the message."""


class RendezvousGracefulExit(RendezvousClosed):
    """The job succeeded without this node: it was a spare, and it is done.

    Control flow, not a failure. `RendezvousHandler.join` raises it; who catches it has
    nothing left to do.
    """

    exit_code: ClassVar[int] = 0


class QuorumLost(RendezvousClosed):
    """The job has ended: its minimum of nodes can't be reached any more."""

    exit_code: ClassVar[int] = 7


class RendezvousUnreachable(RendezvousError):
    """The store can't be reached, or was lost for longer than a lease."""


class RendezvousCorrupt(RendezvousError):
    """The store holds something that no agent of this version writes."""


class NodeNotAdmitted(RendezvousError):
    """The job refuses this node, for example because its settings differ."""


class SpawnError(ElaunchError):
    """A worker could not be started."""

    exit_code: ClassVar[int] = 5


@attrs.frozen
class WorkersLeft(ElaunchError):
    """Processes of the workers are still there after SIGKILL: the kernel holds them.

    Attributes:
        host: Host name of this node.
        pids: Their ids.
    """

    host: str
    pids: Sequence[int]

    def __str__(self) -> str:
        pids = ", ".join(str(pid) for pid in self.pids)
        return (
            f"processes of the workers can't be killed on host {self.host!r} "
            f"(pids {pids}): the kernel holds them; look for a hanging file system or "
            f"device, the host may have to be restarted"
        )


class ControlFailed(ElaunchError):
    """An agent that was asked was not found, did not answer or refused."""


class NodeDrained(ElaunchError):
    """This node was told to leave its job, which goes on without it."""

    exit_code: ClassVar[int] = 0


@attrs.frozen
class ChildFailedError(ElaunchError):
    """The workers failed and the restart budget is spent.

    Attributes:
        name: What was launched.
        failures: Failure of each failed rank of the whole job, by global rank.
        stacks: Files of this host with the stacks of workers that were stopped.
        report: File of this host with the same facts as JSON.
    """

    exit_code: ClassVar[int] = 8

    name: str
    failures: Mapping[int, ProcessFailure]
    stacks: tuple[str, ...] = ()
    report: str = ""

    @property
    def status(self) -> int:
        """Exit status of the root cause, or `exit_code` where it has none."""
        return self.get_first_failure()[1].status or self.exit_code

    def get_first_failure(self) -> tuple[int, ProcessFailure]:
        """Return rank and failure of the root cause: the first failure by time."""
        first = root_cause(tuple(self.failures.values()))
        return next(
            r for r, failure in self.failures.items() if failure is first
        ), first

    def __str__(self) -> str:
        return self._report()

    def _report(self) -> str:
        rank, first = self.get_first_failure()
        lines = [f"{self.name} failed; root cause: {first.render()}"]
        others = [f for r, f in self.failures.items() if r != rank]
        if others:
            lines.append("also failed:")
            lines.extend(f"  {line}" for line in summary(others))
        if not set(self.stacks) <= set(first.stacks):
            lines.append("stacks of workers of this node before they were stopped:")
            lines.extend(f"  {path}" for path in self.stacks)
        if self.report:
            lines.append(f"the same as JSON: {self.report}")
        return "\n".join(lines)


@attrs.frozen
class HandedBack(ChildFailedError):
    """The workers failed, and the restart policy hands the job back to its scheduler.

    Attributes:
        reason: Why it does.
    """

    exit_code: ClassVar[int] = HANDED_BACK_EXIT

    reason: str = ""

    @property
    def status(self) -> int:
        """The exit code by which a scheduler knows, whatever the root cause's."""
        return self.exit_code

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"the job is handed back to its scheduler{why}\n{self._report()}"


class Preempted(ElaunchError):
    """This node was told to go, or workers have ended for a preemption of their job.

    What the workers have saved is good; the job is to be started again.
    """

    exit_code: ClassVar[int] = PREEMPTED_EXIT


@attrs.frozen
class SignalException(ElaunchError):
    """The agent got a signal that ends it.

    Attributes:
        sigval: Number of the signal.
    """

    sigval: int

    @property
    def status(self) -> int:
        """128 + signal number, as a shell shows it."""
        return 128 + self.sigval

    def __str__(self) -> str:
        return f"stopped by {signal_name(self.sigval)}"


@attrs.frozen
class InvalidTransition(ElaunchError):
    """A state machine got a stimulus that its state does not allow: a bug of ours.

    Attributes:
        state: Name of the state.
        stimulus: The stimulus.
        story: What happened before, oldest first.
    """

    exit_code: ClassVar[int] = 70

    state: str
    stimulus: object
    story: Sequence[str]

    def __str__(self) -> str:
        story = "\n".join(f"  {line}" for line in self.story)
        return (
            f"internal error: state {self.state!r} does not allow {self.stimulus!r}; "
            f"the story so far:\n{story}"
        )
