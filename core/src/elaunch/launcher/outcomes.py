"""What happens when something does, in plain sentences made of the settings. Pure."""

import math
import signal
from collections.abc import Iterator, Sequence

import attrs

from elaunch.addresses import split_endpoint
from elaunch.config import LaunchConfig
from elaunch.launcher.hangs import hangs
from elaunch.launcher.restarts import restarts, times
from elaunch.membership.options import RendezvousOptions


@attrs.frozen
class Outcome:
    """What happens when something does.

    Attributes:
        when: What it is.
        then: The sentences that tell what follows.
    """

    when: str
    then: str


def outcomes(config: LaunchConfig, options: attrs.AttrsInstance) -> Sequence[Outcome]:
    """Return what happens when something does.

    Args:
        config: The settled configuration.
        options: Options of the rendezvous backend.
    """
    # Backends that adapt somebody else's have options of their own.
    known = options if isinstance(options, RendezvousOptions) else RendezvousOptions()
    story = _Story(config, known)
    told = {
        **({"a check of this node fails": story.unfit()} if config.preflights else {}),
        "a worker fails": story.worker_fails(),
        "a worker hangs": hangs(config.monitors),
        "a node dies": story.node_dies(),
        "a node joins": story.node_joins(),
        "the host of the store dies": story.store_dies(),
        "the workers of this node are done": story.done(),
        "this agent gets SIGTERM": story.told_to_end(),
        "this agent gets Ctrl-C": story.interrupted(),
        "a preemption is announced": story.notice(),
        "'elaunch drain' names this node": story.drained(),
    }
    return [Outcome(when, " ".join(then)) for when, then in told.items()]


@attrs.frozen
class _Story:
    config: LaunchConfig
    options: RendezvousOptions

    def unfit(self) -> Iterator[str]:
        config, options = self.config, self.options
        yield "This node stays out and all are told why. It is checked again, and comes"
        yield "in when it passes."
        if config.min_nodes < config.max_nodes:
            yield "The others go on without it if they are"
            yield f"{config.min_nodes} at least."
        elif config.max_nodes > 1:
            yield "The others go on with a spare, or wait for it."
        if math.isfinite(options.join_limit):
            yield f"If too few nodes are fit for {options.join_limit:g} s, the job ends"
            yield "(exit 6)."

    def worker_fails(self) -> Iterator[str]:
        config = self.config
        if config.dump_stacks:
            yield "Stacks of the others are written down"
            yield f"(--dump-stacks {config.dump_stacks:g})."
        everybody = "of the job" if config.max_nodes > 1 else "of this node"
        yield f"All workers {everybody} get {config.stop_signal}, and SIGKILL"
        yield f"{config.shutdown_timeout:g} s later."
        yield from restarts(config)

    def node_dies(self) -> Iterator[str]:
        config, options = self.config, self.options
        if config.max_nodes == 1:
            yield "This node is the whole job. Its workers die with its agent."
            return
        if options.sees_connections and self._hosted:
            yield f"The others see it {options.reconnect_grace:g} s after its"
            yield f"connections break, and after {options.silence_limit:g} s if it is"
            yield "only silent."
        else:
            yield f"The others see it {options.silence_limit:g} s after it fell silent."
        yield "They stop their workers; that costs no restart."
        least = config.min_nodes
        if least < config.max_nodes:
            yield "They start again at once with the nodes that are left, if these"
            yield f"are {least} at least, or with a spare."
        else:
            yield f"They start again when they are {times(least, 'node')} again: at"
            yield "once with a spare, else when another node comes."
        if options.population is not None:
            yield f"Where too few of the {options.population} nodes are left, the job"
            yield "ends (exit 7)."
        elif math.isfinite(options.join_limit):
            yield f"If too few come within {options.join_limit:g} s, the job ends"
            yield "(exit 6)."

    def node_joins(self) -> Iterator[str]:
        config, unit = self.config, self.options.node_unit
        if config.max_nodes == 1:
            yield "None can: the job has one node."
            return
        if config.min_nodes < config.max_nodes:
            yield f"While there are fewer than {config.max_nodes} nodes all workers are"
            yield "stopped and start again with it; that costs no restart. After that"
            yield "it waits as a spare."
        else:
            yield f"With {config.max_nodes} nodes the job is complete: it waits as a"
            yield "spare, and takes the rank of a node that is lost."
        if unit > 1:
            yield f"Nodes come in units of {unit} (node_unit): until one is complete"
            yield "they wait."

    def store_dies(self) -> Iterator[str]:
        config, options = self.config, self.options
        limit = f"{options.silence_limit * 0.8:g} s"
        if config.max_nodes == 1:
            yield "The agent of this node has it for itself."
        elif self._hosted:
            host = split_endpoint(config.rdzv_endpoint)
            yield "A node of the job hosts it: the one that has the address of"
            yield f"{host!r}."
            yield f"Without it workers go on for up to {limit}, then they are stopped."
            yield "The job forms anew, with all of its restarts, where another node can"
            yield f"host it at {config.rdzv_endpoint!r}; the others wait for that for"
            yield f"{options.join_limit:g} s."
        elif config.rdzv_backend in ("etcd", "etcd-v2"):
            yield "It is in etcd, and outlives any node of the job. While etcd does not"
            yield f"answer workers go on for up to {limit}, then they are stopped, and"
            yield "start again when it is back."
        elif config.rdzv_backend == "file":
            yield f"Nobody hosts it: it is the directory {config.rdzv_endpoint!r}."
            yield "While that can't be read workers go on for up to"
            yield f"{limit}, then they are stopped."
        else:
            yield f"That depends on the rendezvous backend {config.rdzv_backend!r}."

    def done(self) -> Iterator[str]:
        limit = self.config.exit_barrier_timeout
        if self.config.max_nodes == 1:
            yield "If all succeeded the job has, and its agent exits with 0."
        elif limit is None:
            yield "If all succeeded it waits for the other nodes: the job has succeeded"
            yield "when their workers have, too. Then all agents exit with 0."
        else:
            yield f"If all succeeded it waits {limit:g} s for the other nodes"
            yield "(--exit-barrier-timeout), and exits with 0."

    def told_to_end(self) -> Iterator[str]:
        config = self.config
        if "SIGTERM" not in self._ending:
            yield "It is not handled (--signals-to-handle): the agent dies, and its"
            yield "workers with it."
            return
        if config.max_nodes > 1:
            yield "All workers of the job get a notice of a preemption."
        yield from self._stops()
        yield "It exits with 75."

    def interrupted(self) -> Iterator[str]:
        if "SIGINT" not in self._ending:
            yield "It is not handled (--signals-to-handle): the agent dies, and its"
            yield "workers with it."
            return
        yield from self._stops()
        yield "It exits with 130."

    def notice(self) -> Iterator[str]:
        name = self.config.agent_signals.notice
        if name is None:
            yield "No signal announces one (--notice-signal none)."
            return
        yield f"{self.config.notice_signal} to the agent: a notice to all workers of"
        yield "the job, which may save; nothing is stopped. A worker that exits with 75"
        yield "after it ends the job as preempted."

    def drained(self) -> Iterator[str]:
        config = self.config
        if config.control == "none":
            yield "No command reaches it (--control none)."
            return
        if config.max_nodes == 1:
            yield "It stays: no other node could go on. 'elaunch stop' ends the job"
            yield "(exit 4)."
            return
        yield from self._stops()
        yield "That costs no restart, and it exits with 0."

    def _stops(self) -> Iterator[str]:
        config = self.config
        yield f"The workers of this node get {config.stop_signal}, and SIGKILL"
        yield f"{config.shutdown_timeout:g} s later, or at a second signal."
        if config.max_nodes > 1:
            yield "The node leaves the job; the others go on as when a node dies, but"
            yield "at once."

    @property
    def _hosted(self) -> bool:
        """Whether a node of the job has the store."""
        return self.config.rdzv_backend in ("c10d", "static")

    @property
    def _ending(self) -> Sequence[str]:
        return [signal.Signals(n).name for n in self.config.agent_signals.end]
