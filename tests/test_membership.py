"""Membership on real processes: whoever comes, goes or dies, the others agree.

An agent of another job hosts the store, so that every node of the job can die, the
coordinator's too.
"""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from agents import Agent, Launch
from places import SHOW, Script, assert_agree, places_in


Join = Callable[..., Agent]
"""Start a node of the job: its `--nnodes`, more flags, more variables."""

OPTIONS = "last_call_timeout=0,reconnect_grace=0.1,is_host=false"

BROKEN_PLUGIN = """
from elaunch.api import SpawnerProvider
from elaunch.hookspecs import hookimpl

class BrokenSpawner:
    def prepare(self, entry):
        pass

    async def start(self, entry, workers):
        raise RuntimeError("a bug in this node's spawner")

    async def close(self):
        pass

@hookimpl
def elaunch_register_spawners():
    return (SpawnerProvider("broken", "has a bug", lambda *_: BrokenSpawner()),)
"""


@pytest.fixture
def join(launch: Launch, endpoint: str, script: Script) -> Join:
    worker = script(SHOW)
    host = launch("-v", "--rdzv-endpoint", endpoint, "--rdzv-id", "host", worker)
    host.wait_for("hosts the store at")

    def start(
        nnodes: str, *flags: str, prefix: Sequence[str] = (), **variables: str
    ) -> Agent:
        return launch(
            *("-v", "--rdzv-endpoint", endpoint, "--rdzv-id", "job"),
            *("--nnodes", nnodes, "--rdzv-conf", OPTIONS),
            *(*flags, worker),
            prefix=prefix,
            **variables,
        )

    return start


@pytest.fixture
def broken_plugin(tmp_path: Path) -> str:
    """Write a distribution whose spawner has a bug; return what finds it."""
    site = tmp_path / "site"
    facts = site / "broken-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "broken_plugin.py").write_text(BROKEN_PLUGIN)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1")
    (facts / "entry_points.txt").write_text("[elaunch]\nbroken = broken_plugin\n")
    return str(site)


def decides(agent: Agent) -> bool:
    """Whether an agent is the coordinator; whoever is one stays so until it dies."""
    return "elaunch: rendezvous.coordinator " in agent.output


def coordinator_of(nodes: list[Agent]) -> Agent:
    (found,) = filter(decides, nodes)
    return found


def member_of(nodes: list[Agent]) -> Agent:
    return next(node for node in nodes if not decides(node))


def in_order_of_names(agents: list[Agent]) -> list[Agent]:
    """Return agents of one host by node id, which is the host's name, then the pid."""
    return sorted(agents, key=lambda agent: str(agent.pid))


def test_the_coordinator_a_member_and_a_spare_die_in_turn(join: Join) -> None:
    nodes = [join("2:3"), join("2:3")]
    generations = [places_in(nodes, 1)]
    nodes.append(join("2:3"))
    generations.append(places_in(nodes, 2))
    for choose in (coordinator_of, member_of):
        victim = choose(nodes)
        nodes.remove(victim)
        victim.power_off()
        generations.append(places_in(nodes, len(generations) + 1))
        nodes.append(join("2:3"))
        generations.append(places_in(nodes, len(generations) + 1))
    spare = join("2:3")
    spare.wait_for("waiting as a spare")
    spare.power_off()
    # By the time that another one waits, the death of the first is known.
    another = join("2:3")
    another.wait_for("waiting as a spare")
    victim = coordinator_of(nodes)
    victim.power_off()
    nodes = [node for node in nodes if node is not victim] + [another]
    # Had the spare's death disturbed anybody, this would be a later generation.
    generations.append(places_in(nodes, len(generations) + 1))

    assert [len(places) for places in generations] == [2, 3, 2, 3, 2, 3, 3]
    for places in generations:
        assert_agree(places)
    assert len({places[0][3] for places in generations}) == len(generations)


@pytest.mark.parametrize("broken_first", [True, False])
def test_an_agent_that_a_bug_ends_does_not_end_the_job(
    join: Join, broken_plugin: str, *, broken_first: bool
) -> None:
    def join_broken() -> Agent:
        return join("2", "--spawner", "broken", PYTHONPATH=broken_plugin)

    if broken_first:
        broken = join_broken()
        broken.wait_for("rendezvous.coordinator")
        good = join("2")
    else:
        good = join("2")
        good.wait_for("rendezvous.coordinator")
        broken = join_broken()

    assert broken.wait() == 1
    broken.wait_for("a bug in this node's spawner")
    replacement = join("2")
    assert_agree(places_in([good, replacement], 2))


@pytest.mark.parametrize("has_stopped", [True, False])
def test_a_node_leaves_while_the_next_generation_forms(
    join: Join, *, has_stopped: bool
) -> None:
    stubborn = join("2:3", STUBBORN="yes")
    quick = join("2:3")
    places_in([stubborn, quick], 1)
    joiner = join("2:3")
    stubborn.wait_for("told to stop")
    quick.wait_for("group.stopped")
    leaver, stayer = (quick, stubborn) if has_stopped else (stubborn, quick)
    leaver.send(signal.SIGTERM)
    leaver.wait_for("agent.signalled signal='SIGTERM'|got SIGTERM")
    stubborn.workers()[0].send_signal(signal.SIGUSR1)

    assert leaver.wait() == 75
    assert_agree(places_in([stayer, joiner], 2))


STOPPED = ("sh", "-c", 'kill -STOP $$; exec "$@"', "sh")
"""Stops a command before it begins; it goes on when its turn comes."""


@pytest.mark.parametrize("ascending", [True, False])
def test_the_order_of_names_does_not_matter(join: Join, *, ascending: bool) -> None:
    agents = [join("1:2", prefix=STOPPED) for _ in range(3)]
    for agent in agents:
        os.waitid(os.P_PID, agent.pid, os.WSTOPPED)
    names = in_order_of_names(agents)
    first, second, third = names if ascending else reversed(names)
    first.send(signal.SIGCONT)
    generations = [places_in([first], 1)]
    second.send(signal.SIGCONT)
    generations.append(places_in([first, second], 2))
    second.power_off()
    generations.append(places_in([first], 3))
    third.send(signal.SIGCONT)
    generations.append(places_in([first, third], 4))
    # It has been the coordinator from the beginning.
    first.send(signal.SIGTERM)
    generations.append(places_in([third], 5))

    for places in generations:
        assert_agree(places)


def test_a_node_is_replaced_again_and_again(join: Join) -> None:
    nodes = [join("2"), join("2")]
    generations = [places_in(nodes, 1)]
    for number in range(5):
        victim = coordinator_of(nodes) if number % 2 else member_of(nodes)
        nodes.remove(victim)
        victim.power_off()
        nodes.append(join("2"))
        generations.append(places_in(nodes, number + 2))

    for places in generations:
        assert_agree(places)
    assert len({places[0][3] for places in generations}) == len(generations)


def test_a_failure_costs_one_restart_although_a_node_joins_meanwhile(
    join: Join,
) -> None:
    flags = ("--max-restarts", "2")
    stubborn = join("2:3", *flags, STUBBORN="yes")
    other = join("2:3", *flags)
    places_in([stubborn, other], 1)
    other.workers()[0].send_signal(signal.SIGKILL)
    stubborn.wait_for("told to stop")
    joiner = join("2:3", *flags)
    joiner.wait_for("waiting: ")
    stubborn.workers()[0].send_signal(signal.SIGUSR1)
    nodes = [stubborn, other, joiner]
    after_one = places_in(nodes, 2)
    joiner.workers()[0].send_signal(signal.SIGKILL)
    stubborn.wait_for("told to stop", count=2)
    stubborn.workers()[0].send_signal(signal.SIGUSR1)

    assert_agree(after_one, restarts=1)
    assert_agree(places_in(nodes, 3), restarts=2)


def test_a_worker_that_dies_while_it_is_stopped_costs_no_restart(join: Join) -> None:
    stubborn = join("2:3", STUBBORN="yes")
    other = join("2:3")
    places_in([stubborn, other], 1)
    joiner = join("2:3")
    stubborn.wait_for("told to stop")
    stubborn.workers()[0].send_signal(signal.SIGKILL)

    assert_agree(places_in([stubborn, other, joiner], 2), restarts=0)
