"""A job of two agents whose workers have nothing to complain of."""

import os
from collections.abc import Callable
from pathlib import Path

import attrs
from agents import Agent, Launch


WORK = """
import os, sys
print("works in generation", os.environ["ELAUNCH_GENERATION"], "after",
      os.environ["ELAUNCH_RESTART_COUNT"], "restarts", flush=True)
with open(f"{sys.argv[1]}/{os.environ['RANK']}") as told:
    told.read()
"""
"""A worker that ends well as soon as it is told to, by a pipe."""


@attrs.frozen
class Job:
    """A job of two agents, the first of which hosts the store."""

    directory: Path
    host: Agent
    other: Agent

    @classmethod
    def begin(
        cls,
        directory: Path,
        launch: Launch,
        launch_other: Launch,
        *,
        address: str = "127.0.0.1",
        way: Callable[[int], str] = "127.0.0.1:{}".format,
        conf: str = "",
    ) -> "Job":
        """Start a job and wait until it works.

        Args:
            directory: For its files.
            launch: Starts the agent that hosts.
            launch_other: Starts the other one.
            address: Where the store shall be.
            way: Tells the other one's endpoint from the port of the store.
            conf: Options of both.
        """
        directory.mkdir()
        script = directory / "worker.py"
        script.write_text(WORK)

        def node(rank: int, endpoint: str) -> list[str]:
            os.mkfifo(directory / str(rank))
            return [
                *("-v", "--rdzv-id", "job", "--nnodes", "2", "--node-rank", str(rank)),
                *("--rdzv-endpoint", endpoint, "--rdzv-conf", conf),
                *("--max-restarts", "3", str(script), str(directory)),
            ]

        host = launch(*node(0, f"{address}:0"))
        (hosted,) = host.wait_for(r"hosts the store at '.*:(\d+)'")
        other = launch_other(*node(1, way(int(hosted[1]))))
        job = cls(directory, host, other)
        for agent in (host, other):
            agent.wait_for("works in generation")
        return job

    def let_go(self) -> None:
        """Let the workers end."""
        for rank in ("0", "1"):
            (self.directory / rank).write_text("go")

    def assert_undisturbed(self) -> None:
        """Let the workers end; they are the first that there were."""
        self.let_go()
        statuses = [agent.wait() for agent in (self.host, self.other)]
        said = f"{self.host.output}\n\n{self.other.output}"

        assert statuses == [0, 0], said
        assert said.count("works in generation") == 2, said
        assert said.count("works in generation 1 after 0 restarts") == 2, said
