"""Options of the c10d rendezvous (``--rdzv-conf``)."""

import attrs

from elaunch.api import RendezvousOptions


@attrs.frozen(kw_only=True)
class C10dOptions(RendezvousOptions):
    """Times in seconds, those of every rendezvous included.

    Attributes:
        is_host: Whether this node hosts the store; `None` to find out by trying to
            listen at the endpoint.
        connect_timeout: How long to try to reach a store that another node hosts.
    """

    is_host: bool | None = None
    connect_timeout: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
