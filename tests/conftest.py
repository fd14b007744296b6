"""Real agents as real processes, for the promises that cross distributions."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from agents import Agent, Launch
from event_schema import check_events


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Start agents; end them, and whatever they started, with the test.

    Whatever they record must be as the published schema says.
    """
    agents: list[Agent] = []
    events = tmp_path / "events-of-all-agents"
    recorder = f"--event-recorder=jsonl:path={events}/{{agent}}.jsonl"

    def start(*arguments: str, prefix: Sequence[str] = (), **variables: str) -> Agent:
        agent = Agent(
            [recorder, *arguments] if "events_log" not in arguments else [*arguments],
            tmp_path,
            {**os.environ, "OMP_NUM_THREADS": "1", **variables},
            prefix,
        )
        agents.append(agent)
        return agent

    yield start
    for agent in agents:
        agent.close()
    check_events(events.glob("*"))


@pytest.fixture
def endpoint() -> str:
    """An address on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Write a worker script; return its path."""

    def write(code: str) -> str:
        path = tmp_path / "worker.py"
        path.write_text(code)
        return str(path)

    return write
