"""When the interpreter looks for garbage: not while hundreds of modules are imported.

Each look goes through what was made since the last one, and imports make much and drop
little.
"""

import atexit
import gc
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from elaunch.events import Event


STARTING = 100_000
"""New objects for a look while a command starts: more than all that is imported."""

RUNNING = 10_000
"""The same of an agent."""


def begin() -> None:
    """Look for none while the command starts.

    Nor is the interpreter to go through all that was imported once more at the end,
    when the system gets all memory back anyway.
    """
    gc.set_threshold(STARTING)
    atexit.register(gc.freeze)


class Collecting:
    """An event recorder that lets the interpreter look again once the agent runs.

    What was imported by then stays, and is never gone through.
    """

    def record(self, event: "Event") -> None:
        """Hear of the agent's start, which is its first event but for its address."""
        if gc.get_threshold()[0] == STARTING and event.name == "agent.started":
            gc.freeze()
            gc.set_threshold(RUNNING)

    def close(self) -> None:
        """Nothing is held."""
