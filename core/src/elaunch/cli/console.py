"""What a run says on the screen: a few lines that matter, whole, on stderr."""

import enum
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TextIO

import attrs

from elaunch.events import Event, EventName
from elaunch.text import printable_lines


class Voice(enum.Enum):
    """How much a run says."""

    QUIET = enum.auto()
    NORMAL = enum.auto()
    VERBOSE = enum.auto()

    @classmethod
    def of(cls, *, verbose: bool, quiet: bool) -> "Voice":
        """Return the voice that the flags ask for."""
        if quiet:
            return cls.QUIET
        return cls.VERBOSE if verbose else cls.NORMAL


@attrs.define(eq=False, repr=False)
class Console:
    """An event recorder that tells a person.

    Attributes:
        voice: How much to say.
        stream: Where to.
    """

    voice: Voice
    stream: TextIO
    _stopping: bool = attrs.field(default=False, init=False)

    def record(self, event: Event) -> None:
        """Say what the event means, if it matters."""
        tell = LINES.get(event.name)
        line = tell(event.metadata) if tell else None
        if event.name == EventName.AGENT_SIGNALLED and self._stopping:
            # Otherwise the stop that comes of it tells of the signal.
            line = f"got {event.metadata['signal']}"
        elif event.name in (EventName.GROUP_STOPPING, EventName.GROUP_STOPPED):
            self._stopping = event.name == EventName.GROUP_STOPPING
        if self.voice is Voice.VERBOSE and line is None:
            line = DETAILS.get(event.name, partial(_plain, event.name))(event.facts)
        if line is None or self.voice is Voice.QUIET:
            return
        self.stream.write(f"elaunch: {printable_lines(line)}\n")
        self.stream.flush()

    def close(self) -> None:
        """Say what is still unsaid."""
        self.stream.flush()


Facts = Mapping[str, Any]


def _plain(name: str, facts: Facts) -> str:
    told = " ".join(f"{key}={value!r}" for key, value in facts.items())
    return f"{name} {told}".rstrip()


def waiting_line(facts: Facts) -> str:
    """Say what a node waits for, as `rendezvous.waiting` tells it."""
    if facts["spare"]:
        size, most = facts["size"], facts["max_nodes"]
        if facts["left_out"]:
            (why,) = facts["left_out"]
            return f"kept out of the job, which runs with {size} nodes: {why}"
        if size < most:
            return (
                f"waiting to be taken in: the job runs with {size} of at most {most} "
                f"nodes; if its coordinator is gone, another follows when the lease is "
                f"over"
            )
        return f"waiting as a spare: the job runs with {size} nodes, its most"
    least, most = facts["min_nodes"], facts["max_nodes"]
    wanted = f"{least}" if least == most else f"{least}-{most}"
    hosts = f" ({', '.join(facts['hosts'])})" if facts["hosts"] else ""
    # Where enough are here, and others get a moment to come, nobody is.
    missing = f"; missing {', '.join(facts['missing'])}" if facts["missing"] else ""
    gone = f" (seen before: {', '.join(facts['gone'])})" if facts["gone"] else ""
    out = f"; left out {', '.join(facts['left_out'])}" if facts["left_out"] else ""
    delay = f"; not before {facts['delay']:.0f} s are over" if facts["delay"] else ""
    return (
        f"waiting: {facts['ready']}/{wanted} nodes{hosts}{missing}{gone}{out}{delay}; "
        f"my address {facts['address']}; store {facts['store']}"
    )


def _unfit(facts: Facts) -> str:
    what = f"preflight {facts['preflight']!r} failed: {facts['reason']}"
    return f"{what}; this node stays out until it passes" if facts["required"] else what


def _fit_again(facts: Facts) -> str | None:
    again = facts["attempt"] > 1
    return f"preflight {facts['preflight']!r} passes now" if again else None


def _held(facts: Facts) -> str:
    by = ", ".join(facts["by"])
    return (
        f"nodes that came wait ({', '.join(facts['nodes'])}): held up by {by}, for "
        f"{facts['seconds']:.0f} s at most"
    )


def _joined(facts: Facts) -> str:
    ranks = facts["ranks"]
    here = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]}-{ranks[-1]}"
    nodes = _count(facts["group_size"], "node")
    workers = _count(facts["world_size"], "worker")
    restarts = facts["restart_count"]
    after = f" after restart {restarts}" if restarts else ""
    return f"generation {facts['generation']}{after}: {nodes}, {workers}, {here} here"


def _stopping(facts: Facts) -> str | None:
    if "reason" in facts:
        return f"{facts['reason']}; stopping the workers"
    if facts["step"] == "stacks" and "files" in facts:
        return _wrote(facts["files"])
    if facts["step"] == "kill":
        pids = ", ".join(str(pid) for pid in facts["pids"])
        return f"killing what is left of the workers (pids {pids})"
    return None


def _finding(facts: Facts) -> str:
    rank = facts.get("rank")  # `None` if it is about the node
    worker = "" if rank is None else f"rank {rank} "
    wrote = f"; {_wrote(facts['stacks'])}" if "stacks" in facts else ""
    return f"{worker}{facts['severity']}: {facts['reason']}{wrote}"


def _wrote(files: Sequence[str]) -> str:
    directory = files[0].rpartition("/")[0]
    return f"wrote the stacks of {_count(len(files), 'worker')} to {directory!r}"


def _request(facts: Facts) -> str:
    why = f": {facts['reason']}" if facts["reason"] else ""
    return f"rank {facts['rank']} asks for {facts['request']}{why}"


def _decided(facts: Facts) -> str | None:
    """Say why a policy could not decide; what follows from a decision tells itself."""
    from elaunch.policy import fault_in  # where there is one, it has been asked

    fault, policy = fault_in(facts["reason"]), facts["policy"]
    who = f"restart policy {policy!r}" if policy else "the restart policy"
    return f"{who} can't decide, and the job ends: it raised {fault}" if fault else None


def _asked(facts: Facts) -> str:
    why = f": {facts['reason']}" if facts["reason"] else ""
    refused = f" (refused: {facts['refused']})" if facts["refused"] else ""
    return f"{facts['peer']} asks for {facts['request']}{why}{refused}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


LINES: Mapping[str, Callable[[Facts], str | None]] = {
    EventName.STORE_WAITING: lambda facts: f"waiting for the store: {facts['reason']}",
    EventName.STORE_NOTE: lambda facts: f"note: {facts['reason']}",
    EventName.PREFLIGHT_FAILED: _unfit,
    EventName.PREFLIGHT_PASSED: _fit_again,
    EventName.RENDEZVOUS_WAITING: waiting_line,
    EventName.RENDEZVOUS_LOST: lambda facts: f"lost the job: {facts['reason']}",
    EventName.RENDEZVOUS_LINGERING: lambda facts: (
        f"waiting: {facts['reason']} and use what this node hosts"
    ),
    EventName.SCALING_HELD: _held,
    EventName.GENERATION_JOINED: _joined,
    EventName.GROUP_STOPPING: _stopping,
    EventName.NOTICE_ANNOUNCED: lambda facts: (
        f"notice of {facts['kind']} ({facts['reason']}): telling every node"
    ),
    EventName.NOTICE_DELIVERED: lambda facts: (
        f"notice of {facts['kind']} from {facts['host']!r} ({facts['reason']}): "
        f"workers told"
    ),
    EventName.MONITOR_FINDING: _finding,
    EventName.WORKER_REQUEST: _request,
    EventName.CONTROL_REQUEST: _asked,
    EventName.POLICY_DECIDED: _decided,
    EventName.JOB_SUCCEEDED: lambda _: "the job succeeded",
}
"""What each event that matters says; `None` where it says nothing."""

DETAILS: Mapping[str, Callable[[Facts], str]] = {
    EventName.NODE_ADDRESS: lambda facts: (
        f"other nodes reach this one at {facts['address']!r}: {facts['rule']}"
    ),
    EventName.STORE_HOSTED: lambda facts: (
        f"this node hosts the store at {facts['endpoint']!r}: {facts['rule']}"
    ),
    EventName.STORE_CONNECTED: lambda facts: (
        f"connected to the store at {facts['endpoint']!r}: {facts['rule']}"
    ),
}
"""What others say in a sentence to who wants to know everything."""
