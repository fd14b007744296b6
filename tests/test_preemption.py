"""A node will be taken away: all workers of its job hear of it, and can save."""

import os
import signal
import subprocess
import sys

import pytest
from agents import DEADLINE, Agent, Launch
from places import Script


SAVE_TIME = os.environ.get("ELAUNCH_TEST_SAVE_TIME", "0.5")
"""Seconds that a worker takes to save."""

GRACE = str(2 * float(SAVE_TIME) + 10)

WAITED_FOR = str(5 * (float(SAVE_TIME) + 1))
"""A grace of which a fifth, after all the rest, is enough to save."""

RUNS = r"rank \d runs as (\d+)"

WATCH = """
import os, signal, sys, time
from elaunch.worker import PREEMPTED, notice

rank, noted = os.environ["RANK"], []
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
signal.signal(signal.SIGUSR1, lambda *_: noted.append(notice()))

def say(*words):
    # One call, so that lines of several workers can't be torn.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def hear():
    # As a training loop does that asks after each step.
    while not noted:
        time.sleep(0.02)
    say("rank", rank, "noted", noted[0].kind, noted[0].reason, noted[0].grace)
"""

GO_ON = (
    WATCH
    + """
say("rank", rank, "runs as", os.getpid())
hear()
signal.sigwait({signal.SIGUSR2})
say("rank", rank, "has gone on")
"""
)

SAVE_ON_STOP = (
    WATCH
    + """
def save(*_):
    # The handler of the notice may be under way: the file is there in any case.
    told = notice()
    say("rank", rank, "noted", told.kind, told.reason, told.grace)
    time.sleep(float(os.environ["SAVE_TIME"]))
    say("rank", rank, "has saved")
    os._exit(0)

signal.signal(signal.SIGTERM, save)
say("rank", rank, "runs as", os.getpid())
while True:
    signal.pause()
"""
)

SAVE_AND_END = (
    WATCH
    + """
say("rank", rank, "runs as", os.getpid())
hear()
if rank == "0":
    time.sleep(float(os.environ["SAVE_TIME"]))
    say("rank", rank, "has saved")
    sys.exit(PREEMPTED)
while True:
    signal.pause()
"""
)


ASK_AND_SAVE = (
    WATCH
    + """
notice()  # from here on it is known to look
say("rank", rank, "runs as", os.getpid())
while not notice():
    time.sleep(0.02)
time.sleep(float(os.environ["SAVE_TIME"]) * (1 + int(rank)) / 4)
say("rank", rank, "has saved")
sys.exit(PREEMPTED)
"""
)
"""Looks for notices and handles no signal; the last rank takes longest to save."""


def job(endpoint: str, *more: str, nnodes: str = "2") -> list[str]:
    return [
        *("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", nnodes),
        *("--nproc-per-node", "2", "--rdzv-conf", "last_call_timeout=0"),
        *("--shutdown-timeout", GRACE, *more),
    ]


def start(launch: Launch, script: str, *arguments: str) -> list[Agent]:
    """Start two agents, one after the other, whose workers run."""
    agents = [launch(*arguments, script, SAVE_TIME=SAVE_TIME)]
    agents[0].wait_for("waiting: 1/2 nodes")
    agents.append(launch(*arguments, script, SAVE_TIME=SAVE_TIME))
    for agent in agents:
        agent.wait_for(RUNS, count=2)
    return agents


def wait(agent: Agent) -> int:
    """Wait for the end of an agent whose workers may take long to save."""
    agent.process.wait(timeout=DEADLINE + 2 * float(SAVE_TIME))
    return agent.wait()


@pytest.mark.parametrize("signalled", [0, 1])
def test_a_notice_to_one_node_reaches_the_workers_of_all_and_stops_nobody(
    launch: Launch, endpoint: str, script: Script, signalled: int
) -> None:
    agents = start(launch, script(GO_ON), *job(endpoint))
    agents[signalled].process.send_signal(signal.SIGUSR1)
    for agent in agents:
        agent.wait_for(r"rank \d noted preemption SIGUSR1 None", count=2)
        agent.wait_for(r"notice of preemption from '.*' \(SIGUSR1\): workers told")
        for runs in agent.wait_for(RUNS):
            os.kill(int(runs[1]), signal.SIGUSR2)

    assert [agent.wait() for agent in agents] == [0, 0]
    for agent in agents:
        assert agent.output.count("has gone on") == 2
        assert agent.output.count("workers told") == 1


def test_an_agent_that_is_told_to_stop_lets_all_workers_know_and_its_own_save(
    launch: Launch, endpoint: str, script: Script
) -> None:
    arguments = job(endpoint, "--shutdown-timeout", WAITED_FOR)
    first, second = start(launch, script(SAVE_ON_STOP), *arguments)
    second.send(signal.SIGTERM)

    assert wait(second) == 75
    assert second.output.count("has saved") == 2
    assert second.lines[-1] == "elaunch: preempted: stopped by SIGTERM"
    for agent in (first, second):
        agent.wait_for(rf"rank \d noted preemption SIGTERM {WAITED_FOR}", count=2)
    first.wait_for("left: SIGTERM; stopping the workers")
    first.wait_for("has saved", count=2)


def test_workers_that_save_and_end_after_a_notice_end_the_job_as_preempted(
    launch: Launch, endpoint: str, script: Script
) -> None:
    """Also where a failure could be restarted."""
    # Who only waits does so for the whole grace.
    arguments = job(endpoint, "--max-restarts", "3", "--shutdown-timeout", "1")
    agents = start(launch, script(SAVE_AND_END), *arguments)
    agents[1].process.send_signal(signal.SIGUSR1)

    assert [wait(agent) for agent in agents] == [75, 75]
    assert "has saved" in agents[0].output
    for agent in agents:
        assert agent.lines[-1].startswith("elaunch: preempted: the job was ended: ")
        assert "Traceback" not in agent.output


def test_the_same_exit_code_without_a_notice_is_a_failure(
    launch: Launch, script: Script
) -> None:
    agent = launch("--standalone", script("raise SystemExit(75)"))

    assert agent.wait() == 75
    agent.wait_for("root cause: rank 0 .* exit code 75")


def test_a_worker_that_does_not_handle_the_signal_survives_the_notice(
    launch: Launch, script: Script
) -> None:
    """And finds the notice in its file, in whatever language it is written."""
    worker = script(
        "import os, time\n"
        "print('runs', flush=True)\n"
        "while not os.path.exists(os.environ['ELAUNCH_NOTICE_FILE']):\n"
        "    time.sleep(0.02)\n"
        "print('found a notice', flush=True)\n"
    )
    agent = launch("--standalone", worker)
    agent.wait_for("runs")
    agent.process.send_signal(signal.SIGUSR1)

    assert agent.wait() == 0
    agent.wait_for("found a notice")


def test_a_signal_to_every_process_of_the_node_stops_nobody(
    launch: Launch, script: Script
) -> None:
    """As schedulers send it that know only of a control group."""
    worker = script(
        "import os, signal, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "print('runs', flush=True)\n"
        "while not os.path.exists(os.environ['ELAUNCH_NOTICE_FILE']):\n"
        "    time.sleep(0.02)\n"
    )
    agent = launch("--standalone", worker)
    agent.wait_for("runs")
    for process in agent.workers():
        process.send_signal(signal.SIGUSR1)
    agent.process.send_signal(signal.SIGUSR1)

    assert agent.wait() == 0


def test_a_notice_while_waiting_for_nodes_is_for_the_next_workers(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(GO_ON)
    first = launch(*job(endpoint), worker)
    first.wait_for("waiting: 1/2 nodes")
    first.process.send_signal(signal.SIGUSR1)
    second = launch(*job(endpoint), worker)
    for agent in (first, second):
        agent.wait_for(r"notice of preemption from '.*' \(SIGUSR1\): workers told")


@pytest.mark.parametrize("name", ["usr2", "none"])
def test_the_signal_of_the_notice_can_be_chosen(
    launch: Launch, script: Script, name: str
) -> None:
    worker = script("print('runs', flush=True)\nimport signal\nsignal.pause()\n")
    agent = launch("--standalone", "--notice-signal", name, worker)
    agent.wait_for("runs")
    agent.process.send_signal(signal.SIGUSR2)
    if name == "none":
        assert agent.wait() == -signal.SIGUSR2
    else:
        agent.wait_for("notice of preemption .* workers told")


def test_the_signal_that_stops_workers_can_be_chosen(
    launch: Launch, script: Script
) -> None:
    worker = script(
        "import signal, sys\n"
        "signal.signal(signal.SIGUSR2, lambda *_: (print('told', flush=True), "
        "sys.exit(0)))\n"
        "print('runs', flush=True)\n"
        "while True: signal.pause()\n"
    )
    agent = launch("--standalone", "--stop-signal", "SIGUSR2", worker)
    agent.wait_for("runs")
    agent.send(signal.SIGINT)

    assert agent.wait() == 128 + signal.SIGINT
    agent.wait_for("told")


def test_every_stop_leaves_its_reason(launch: Launch, script: Script) -> None:
    worker = script(
        "import signal, sys\n"
        "from elaunch.worker import notice\n"
        "def stop(*_):\n"
        "    told = notice()\n"
        "    print(told.kind, told.reason, told.grace, flush=True)\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('signal', flush=True))\n"
        "print('runs', flush=True)\n"
        "while True: signal.pause()\n"
    )
    agent = launch("--standalone", "--shutdown-timeout", "20", worker)
    agent.wait_for("runs")
    agent.send(signal.SIGINT)

    assert agent.wait() == 128 + signal.SIGINT
    agent.wait_for("^stop SIGINT 20.0$")
    assert "signal" not in agent.lines


@pytest.mark.parametrize("signum", [signal.SIGUSR1, signal.SIGTERM])
def test_workers_that_look_for_notices_are_given_the_time_to_save(
    launch: Launch, endpoint: str, script: Script, signum: int
) -> None:
    """Of the signal to stop they would die: it comes when the grace is nearly over."""
    agents = start(launch, script(ASK_AND_SAVE), *job(endpoint))
    agents[0].process.send_signal(signum)

    assert [wait(agent) for agent in agents] == [75, 75]
    saved = {
        match[1]
        for agent in agents
        for match in agent.wait_for(r"rank (\d) has saved", 2)
    }
    assert saved == {"0", "1", "2", "3"}


SIGNALLED = """
import os, signal, sys
from elaunch import cli

number, parse = signal.Signals[sys.argv.pop(1)], cli.parse

def parse_signalled(words):
    os.kill(os.getpid(), signal.SIGUSR1)
    return parse(words)

cli.parse = parse_signalled
status = cli.main()
os.kill(os.getpid(), number)
sys.exit(status)
"""

DISPOSITIONS = """
import signal
import subprocess
import sys
print(*(signal.getsignal(s).name for s in (signal.SIGUSR1, signal.SIGUSR2)))
"""


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2"])
@pytest.mark.parametrize("method", ["spawn", "warm"])
def test_a_notice_before_and_after_the_agent_ends_no_process_and_workers_see_none_of_it(
    script: Script, name: str, method: str
) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-c", SIGNALLED, name, "run", "--standalone"),
            *("--notice-signal", name, "--start-method", method, script(DISPOSITIONS)),
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "SIG_DFL SIG_DFL" in ended.stdout
