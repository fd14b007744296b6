"""One of elaunch's own backends, for a program that builds its agent itself."""

from typing import NoReturn

from elaunch.blocking.handler import RendezvousHandler
from elaunch.blocking.parameters import RendezvousParameters
from elaunch.errors import UsageError


class OwnRendezvous(RendezvousHandler):
    """Says with which backend a `WorkerSpec` is to run.

    The agent builds it when it runs, since it is used by an event loop and does not
    block; nodes meet in the agent alone.

    Args:
        params: What it is built with.
    """

    def __init__(self, params: RendezvousParameters) -> None:
        self.params = params

    def get_backend(self) -> str:
        """Return the name of the backend."""
        return self.params.backend

    def get_run_id(self) -> str:
        """Return the id of the job."""
        return self.params.run_id

    def next_rendezvous(self) -> NoReturn:
        """Refuse.

        Raises:
            UsageError: Always.
        """
        raise self._refusal()

    def is_closed(self) -> NoReturn:
        """Refuse.

        Raises:
            UsageError: Always.
        """
        raise self._refusal()

    def set_closed(self) -> NoReturn:
        """Refuse.

        Raises:
            UsageError: Always.
        """
        raise self._refusal()

    def num_nodes_waiting(self) -> NoReturn:
        """Refuse.

        Raises:
            UsageError: Always.
        """
        raise self._refusal()

    def shutdown(self) -> bool:
        """Say that nothing is held here: the agent has closed what it built."""
        return True

    def _refusal(self) -> UsageError:
        return UsageError(
            f"rendezvous backend {self.params.backend!r} is elaunch's own and does not "
            f"block: give it to a WorkerSpec, name it in a LaunchConfig, or await what "
            f"elaunch.get_rdzv_handler returns"
        )
