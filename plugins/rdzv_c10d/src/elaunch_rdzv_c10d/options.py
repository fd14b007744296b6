"""Options of the rendezvous `c10d` and `static` (``--rdzv-conf``)."""

import attrs

from elaunch.api import RendezvousOptions


STORE_TYPES = ("tcp", "file")
"""Where the store can be: in a server, or in a directory."""


def _lower(text: str) -> str:
    return text.lower()


def _store_type(_: object, __: object, value: str) -> None:
    if value not in STORE_TYPES:
        raise ValueError(f"'store_type' is tcp or file, not {value!r}")


@attrs.frozen(kw_only=True)
class C10dOptions(RendezvousOptions):
    """Times in seconds, those of every rendezvous included.

    Attributes:
        is_host: Whether this node hosts the store; `None` to find out by trying to
            listen at the endpoint.
        connect_timeout: How long to try to reach a store that another node hosts.
        read_timeout: Another name for ``connect_timeout``, which wins if both are
            given.
        heartbeat_timeout: How long one renewal of the lease may take before it is tried
            again; a third of the lease if not given.
        store_type: ``tcp``: one agent serves the store. ``file``: it lies in a
            directory, which the endpoint names, as for the rendezvous ``file``.
    """

    is_host: bool | None = None
    connect_timeout: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.gt(0))
    )
    read_timeout: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    heartbeat_timeout: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.gt(0))
    )
    store_type: str = attrs.field(
        default="tcp",
        converter=_lower,
        validator=_store_type,
    )

    @property
    def connect_limit(self) -> float:
        """Seconds to try to reach a store that another node hosts."""
        if self.connect_timeout is None:
            return self.read_timeout
        return self.connect_timeout


@attrs.frozen(kw_only=True)
class StaticOptions(RendezvousOptions):
    """Times in seconds, those of every rendezvous included.

    Attributes:
        rank: Group rank of this node, where nothing else gives it one.
    """

    rank: int | None = None

    def hosting(self, *, is_host: bool) -> C10dOptions:
        """Return how to open the store: who is no host waits as long as for a job."""
        common = {
            field.name: getattr(self, field.name)
            for field in attrs.fields(RendezvousOptions)
        }
        return C10dOptions(**common, is_host=is_host, connect_timeout=self.join_limit)
