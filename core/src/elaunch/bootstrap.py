"""The bootstrap port: what the workers of one generation need to find each other."""

from collections.abc import Collection, Mapping
from typing import Protocol

import attrs

from elaunch.provider import Provider


@attrs.frozen
class BootstrapParameters:
    """What every bootstrap is built with.

    Attributes:
        run_id: Id of the job.
        address: Address at which workers of other nodes reach this node.
    """

    run_id: str
    address: str


class Bootstrap(Protocol):
    """Opens and describes the meeting point of a generation's workers.

    The agent of group rank 0 calls `open` once a generation and publishes the result
    to all members; every member calls `environment` with it. It is closed when no
    worker of its generation is left on any node.
    """

    @property
    def is_open(self) -> bool:
        """Whether this agent hosts something that workers may still use."""

    async def open(self, generation: int, peers: Collection[str]) -> Mapping[str, str]:
        """Open something new for this generation and tell how to reach it.

        What was open for an earlier generation is closed first: a kept store would
        show the workers of this generation the keys of the last.

        Args:
            generation: Number of the generation.
            peers: Addresses from which its workers connect; the one that a node
                advertises may be a name.

        Raises:
            elaunch.errors.SpawnError: If nothing can be opened.
        """

    def environment(self, info: Mapping[str, str]) -> Mapping[str, str]:
        """Return the variables that tell a worker what `open` told.

        Values are templates (`elaunch.templates`): ``{rank}`` is each worker's own.
        """

    async def close(self) -> None:
        """Close whatever is open. Twice is fine."""


BootstrapProvider = Provider[BootstrapParameters, Bootstrap]
