"""What errors of torchelastic's rendezvous mean here."""

from collections.abc import Coroutine, Mapping
from typing import TypeVar

from elaunch.errors import (
    RendezvousClosed,
    RendezvousCorrupt,
    RendezvousError,
    RendezvousGracefulExit,
    RendezvousTimeout,
    RendezvousUnreachable,
)


T = TypeVar("T")

_ERRORS: Mapping[str, type[RendezvousError]] = {
    "RendezvousClosedError": RendezvousClosed,
    "RendezvousTimeoutError": RendezvousTimeout,
    "RendezvousConnectionError": RendezvousUnreachable,
    "RendezvousStateError": RendezvousCorrupt,
    "RendezvousGracefulExitError": RendezvousGracefulExit,
    "DistStoreError": RendezvousUnreachable,
}
"""torch's errors by their names, since importing it is not for here -> ours."""


def our_error(error: BaseException) -> RendezvousError | None:
    """Return what an error of the other side means here; `None` for what is none."""
    if isinstance(error, RendezvousError):
        return error
    for kind in type(error).__mro__:
        if kind.__name__ in _ERRORS:
            return _ERRORS[kind.__name__](str(error))
    if isinstance(error, ConnectionError | TimeoutError):
        return RendezvousUnreachable(f"{type(error).__name__}: {error}")
    return None


async def translated(work: Coroutine[None, None, T]) -> T:
    """Do something; what the other side raises is one of our errors.

    Raises:
        RendezvousError: What its error means here.
        Exception: What means nothing here, as it is.
    """
    try:
        return await work
    except Exception as error:
        ours = our_error(error)
        if ours is None or ours is error:
            raise
        raise ours from error
