"""What a job that fails says at the end: on the screen and in its file."""

import os
import re
import signal

from agents import Launch, Script
from cgroups import frozen


HANG = "import os, signal\nprint('pid', os.getpid(), flush=True)\nsignal.pause()\n"


def test_a_node_with_a_worker_that_cant_be_killed_leaves(
    launch: Launch, script: Script
) -> None:
    worker = script(HANG)
    budget = ("--max-restarts", "3", "--shutdown-timeout", "0.5")
    agent = launch("--standalone", *budget, "--nproc-per-node", "2", worker)
    agent.wait_for(r"pid \d+", 2)
    held, other = (int(agent.wait_for(rf"^\[{r}\] pid (\d+)")[0][1]) for r in (0, 1))
    with frozen("agent", held):
        os.kill(other, signal.SIGKILL)
        status = agent.wait()

    assert status == 1, agent.output
    assert re.search(rf"process {held} is still there .* \(state D", agent.output)
    assert "error: processes of the workers can't be killed on host" in agent.output
