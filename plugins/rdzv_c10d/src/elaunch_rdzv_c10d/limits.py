"""What peers that nobody knows may cost."""

import resource

import attrs


_MOST_DESCRIPTORS = 32_768
"""Of one process, whatever its limit is: each connection also costs memory."""

_SPARE = (96, 256)
"""Least and most descriptors that are kept for everything that is no connection.

More than are accepted in three turns of the loop, so that accepting never fails: after
such a failure asyncio would accept nobody for a second.
"""


def _descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _MOST_DESCRIPTORS
    least, most = _SPARE
    return min(_MOST_DESCRIPTORS, soft - min(most, max(least, soft // 8)))


@attrs.frozen
class Limits:
    """Limits of one server.

    Attributes:
        descriptors: Descriptors this process may have open when a connection is
            accepted, whatever they are for: the system gives the lowest free number.
        strangers: Connections that may be there without having said who they are: half
            of all, since thousands of agents may call in one moment.
        handshake_timeout: Seconds that a connection may take to say it.
    """

    descriptors: int = attrs.field(factory=_descriptors)
    strangers: int = attrs.field(
        default=attrs.Factory(lambda self: self.descriptors // 2, takes_self=True)
    )
    handshake_timeout: float = 10.0
