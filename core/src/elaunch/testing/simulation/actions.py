"""What can happen to a simulated job, by the names that stimuli have."""

import signal
from collections.abc import Callable, Mapping

import attrs

from elaunch.api import MessageKind, SpawnError, WorkerMessage
from elaunch.errors import PREEMPTED_EXIT
from elaunch.testing.simulation.scenario import Stimulus
from elaunch.testing.simulation.world import World


Action = Callable[[World, Stimulus], None]


def _start(world: World, it: Stimulus) -> None:
    node = world.nodes[it.node]
    if not node.is_running:
        node.start()


def _kill(world: World, it: Stimulus) -> None:
    world.nodes[it.node].kill()


def _power_off(world: World, it: Stimulus) -> None:
    """Lose the node and say nothing: its connections stand until its lease ends."""
    world.nodes[it.node].power_off()


def _join_again(world: World, it: Stimulus) -> None:
    """Kill a node and start it again after ``value`` seconds."""
    world.nodes[it.node].kill()
    world.later(it.value, lambda: _start(world, it))


def _term(world: World, it: Stimulus) -> None:
    node = world.nodes[it.node]
    if node.process and node.is_running:
        world.loop.signal(node.process, signal.SIGTERM)
        if node.process.dead:
            node.kill()


def _term_twice(world: World, it: Stimulus) -> None:
    _term(world, it)
    world.later(it.value, lambda: _term(world, it))


def _drain(world: World, it: Stimulus) -> None:
    """A user has the node leave its job."""
    node = world.nodes[it.node]
    if node.process and node.is_running:
        world.loop.spawn(node.process, node.drain())


def _notice(world: World, it: Stimulus) -> None:
    """The node is told that it will be taken away."""
    node = world.nodes[it.node]
    if node.process and node.is_running:
        world.loop.signal(node.process, signal.SIGUSR1)
        if node.process.dead:
            node.kill()


def _save_and_end(world: World, it: Stimulus) -> None:
    """One worker of the node ends as those do that have saved for a preemption."""
    _exit(world, attrs.evolve(it, value=PREEMPTED_EXIT))


def _exit(world: World, it: Stimulus) -> None:
    """One worker of the node ends with exit code ``value``."""
    node = world.nodes[it.node]
    if node.group and node.process:
        world.laws.failures += 1
        world.loop.call_soon(
            node.group.exit, max(1, int(it.value)), 0, context=node.process.context
        )


def _collapse(world: World, _: Stimulus) -> None:
    """One worker of every node ends, as happens when a collective breaks."""
    groups = [
        (node.group, node.process)
        for node in world.nodes.values()
        if node.group and node.process
    ]
    # However many fail together, each generation fails once.
    world.laws.failures += len({group.generation for group, _ in groups})
    for group, process in groups:
        world.loop.arrive(world.network.delay(), process, group.exit, 1, 0)


def _crash_loop(world: World, it: Stimulus) -> None:
    """The next ``value`` groups of the node crash as soon as they run."""
    times = int(it.value)
    world.laws.failures += times
    world.nodes[it.node].habits.crashes += times


def _finish(world: World, it: Stimulus) -> None:
    """The workers of the node end well, before those of the others."""
    node = world.nodes[it.node]
    if node.group and node.process:
        world.loop.call_soon(node.group.exit, 0, context=node.process.context)


def _done(world: World, _: Stimulus) -> None:
    """All workers of the job end well, one node after the other."""
    for number, node in enumerate(world.nodes.values()):
        node.habits.finishing = True
        if node.group and node.process:
            world.loop.arrive(0.1 * number, node.process, node.group.exit, 0)


def _slow_stop(world: World, it: Stimulus) -> None:
    """The workers of the node take ``value`` seconds to stop."""
    world.nodes[it.node].habits.stop_time = it.value


def _slow_start(world: World, it: Stimulus) -> None:
    """The workers of the node take ``value`` seconds to start, and to find a port."""
    world.nodes[it.node].habits.start_time = it.value


def _cant_start(world: World, it: Stimulus) -> None:
    """The node can start no workers any more."""
    habits = world.nodes[it.node].habits
    habits.fault = habits.fault or SpawnError("this node can't start workers")


def _unfit(world: World, it: Stimulus) -> None:
    """The node is not fit for ``value`` seconds: a place that it has it keeps."""
    habits = world.nodes[it.node].habits
    habits.unfit = True
    world.later(it.value, lambda: setattr(habits, "unfit", False))


def _slow_check(world: World, it: Stimulus) -> None:
    """Let every check of the node take ``value`` seconds, for ten seconds."""
    habits = world.nodes[it.node].habits
    habits.check_time = it.value
    world.later(10.0, lambda: setattr(habits, "check_time", 0.0))


def _ask_restart(world: World, it: Stimulus) -> None:
    """Somebody asks the node for a restart."""
    node = world.nodes[it.node]
    if node.process and node.is_running:
        world.loop.spawn(node.process, node.restart("new code"))


def _progress(world: World, it: Stimulus) -> None:
    """A worker of the node has come farther than any before."""
    node = world.nodes[it.node]
    if node.process and node.is_running:
        world.loop.spawn(node.process, node.tell(float(world.faults["progress"])))


def _hold(world: World, it: Stimulus) -> None:
    """A worker of the node wants no node to join for ``value`` seconds."""
    _say(world, it, MessageKind.HOLD_SCALING)


def _release(world: World, it: Stimulus) -> None:
    """It minds no more."""
    _say(world, it, MessageKind.RELEASE_SCALING)


def _say(world: World, it: Stimulus, kind: MessageKind) -> None:
    node = world.nodes[it.node]
    if node.group and node.process:
        said = WorkerMessage(
            local_rank=0, kind=kind, time=world.loop.now, limit=it.value
        )
        world.loop.call_soon(node.messages.tell, said, context=node.process.context)


def _close(world: World, it: Stimulus) -> None:
    """A user ends the job on the node."""
    node = world.nodes[it.node]
    if node.process and node.is_running and node.handler:
        world.loop.spawn(node.process, node.close("its user has ended it"))


def _reset(world: World, it: Stimulus) -> None:
    node = world.nodes[it.node]
    if node.process:
        world.network.reset(node.process)


def _silence(world: World, it: Stimulus) -> None:
    """Cut the node off for ``value`` seconds."""
    process = world.nodes[it.node].process
    if process:
        world.network.silence(process)
        world.later(it.value, lambda: world.network.heal(process))


def _deafen(world: World, it: Stimulus) -> None:
    """Let nothing reach the node for ``value`` seconds; what it sends arrives."""
    process = world.nodes[it.node].process
    if process:
        world.network.deafen(process)
        world.later(it.value, lambda: world.network.heal(process))


def _compact(world: World, it: Stimulus) -> None:
    """The store has forgotten what the watches of the node wait for."""
    process = world.nodes[it.node].process
    if process:
        world.server.compact(process)


def _pause(world: World, it: Stimulus) -> None:
    """Stop the whole host of the node for ``value`` seconds."""
    node = world.nodes[it.node]
    process = node.process
    if process and not process.paused:
        node.excused = "its host stood still"
        world.loop.pause(process)
        world.later(it.value, lambda: world.loop.resume(process))


def _slow(world: World, it: Stimulus) -> None:
    """Let every callback of the node take ``value`` seconds, for five seconds."""
    process = world.nodes[it.node].process
    if process:
        process.cost = it.value
        world.later(5.0, lambda: setattr(process, "cost", 0.0))


def _store_outage(world: World, it: Stimulus) -> None:
    """The store is down for ``value`` seconds and keeps what it holds."""
    _store_restarts(world, it.value, forget=False)


def _store_forgets(world: World, it: Stimulus) -> None:
    """The store is down for ``value`` seconds and comes back empty."""
    _store_restarts(world, it.value, forget=True)


def _store_restarts(world: World, seconds: float, *, forget: bool) -> None:
    if world.server.process.dead:
        return
    world.server.stop()

    def start() -> None:
        world.server.start(forget=forget)
        world.watch_store()

    world.later(seconds, start)


def _store_pause(world: World, it: Stimulus) -> None:
    """The store's process stands still for ``value`` seconds."""
    process = world.server.process
    if not process.paused:
        world.loop.pause(process)
        world.later(it.value, lambda: world.loop.resume(process))


def _store_slow(world: World, it: Stimulus) -> None:
    """Let every request take the store ``value`` seconds, for five seconds."""
    process = world.server.process
    process.cost = it.value
    world.later(5.0, lambda: setattr(process, "cost", 0.0))


ACTIONS: Mapping[str, Action] = {
    "start": _start,
    "kill": _kill,
    "power-off": _power_off,
    "join-again": _join_again,
    "term": _term,
    "drain": _drain,
    "term-twice": _term_twice,
    "notice": _notice,
    "save-and-end": _save_and_end,
    "exit": _exit,
    "collapse": _collapse,
    "crash-loop": _crash_loop,
    "finish": _finish,
    "done": _done,
    "slow-stop": _slow_stop,
    "slow-start": _slow_start,
    "cant-start": _cant_start,
    "unfit": _unfit,
    "slow-check": _slow_check,
    "ask-restart": _ask_restart,
    "progress": _progress,
    "hold": _hold,
    "release": _release,
    "close": _close,
    "reset": _reset,
    "silence": _silence,
    "deafen": _deafen,
    "compact": _compact,
    "pause": _pause,
    "slow": _slow,
    "store-outage": _store_outage,
    "store-forgets": _store_forgets,
    "store-pause": _store_pause,
    "store-slow": _store_slow,
}
"""What each kind of stimulus does."""
