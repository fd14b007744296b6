"""What a rendezvous that blocks is built with, as torchelastic's plugins know it."""

from typing import Any

from elaunch.errors import UsageError
from elaunch.options import FALSE, TRUE


class RendezvousParameters:
    """What every creator of torchelastic is called with.

    Args:
        backend: Name of the backend.
        endpoint: Where it is, in its own form.
        run_id: Id of the job.
        min_nodes: Fewest nodes.
        max_nodes: Most nodes.
        local_addr: Address of this node; `None` to find out.
        config: Options of the backend.

    Raises:
        UsageError: If the backend has no name, or the numbers make no sense.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the signature that plugins know
        self,
        backend: str,
        endpoint: str,
        run_id: str,
        min_nodes: int,
        max_nodes: int,
        local_addr: str | None = None,
        **config: Any,
    ) -> None:
        if not backend:
            raise UsageError("a rendezvous backend has a name, not ''")
        if not 1 <= min_nodes <= max_nodes:
            raise UsageError(
                f"a rendezvous has 1 <= min_nodes <= max_nodes, not {min_nodes} and "
                f"{max_nodes}"
            )
        self.backend = backend
        self.endpoint = endpoint
        self.run_id = run_id
        self.min_nodes = min_nodes
        self.max_nodes = max_nodes
        self.local_addr = local_addr
        self.config = config

    def get(self, key: str, default: Any = None) -> Any:
        """Return an option, or the default."""
        return self.config.get(key, default)

    def get_as_bool(self, key: str, default: bool | None = None) -> bool | None:  # noqa: FBT001 - the signature that plugins know
        """Return an option that is true or false.

        Raises:
            UsageError: If it is neither.
        """
        value = self.get(key, default)
        if value is None or isinstance(value, bool):
            return value
        text = str(value).strip().lower()
        if text in TRUE | FALSE:
            return text in TRUE
        raise UsageError(f"option {key!r} is true or false, not {value!r}")

    def get_as_int(self, key: str, default: int | None = None) -> int | None:
        """Return an option that is a number.

        Raises:
            UsageError: If it is none.
        """
        value = self.get(key, default)
        if value is None:
            return None
        try:
            return int(value)
        except (TypeError, ValueError):
            raise UsageError(f"option {key!r} is a number, not {value!r}") from None
