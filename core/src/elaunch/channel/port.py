"""What an agent needs of a channel, and the one of agents whose workers have none."""

from collections.abc import Mapping
from typing import Protocol

from elaunch.notice import Notice


class WorkerChannel(Protocol):
    """Hears the workers of one group after the other."""

    def open(self, workers: int, /) -> Mapping[str, str]:
        """Get ready for so many workers; return the variables that they get."""

    def read(self) -> None:
        """Begin to tell what they say."""

    def drain(self, local_rank: int) -> None:
        """Tell what a worker that has ended has said to the last."""

    def tell(self, notice: Notice) -> None:
        """Send a notice to whoever listens for one."""

    def close(self) -> None:
        """Hear nobody any more. Twice is fine."""


class NoChannel:
    """Hears nobody; see `WorkerChannel`."""

    def open(self, _: int) -> Mapping[str, str]:
        """Have nothing for them."""
        return {}

    def read(self) -> None:
        """Tell nothing."""

    def drain(self, local_rank: int) -> None:
        """Tell nothing."""

    def tell(self, notice: Notice) -> None:
        """Send nothing."""

    def close(self) -> None:
        """Nothing is held."""
