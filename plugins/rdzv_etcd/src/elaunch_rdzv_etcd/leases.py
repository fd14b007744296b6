"""How a lease is kept, over either API of etcd.

Of 20 s, which are trusted for 16, an eighth is over when an outage of 10 s begins; 3 s
are left for the pause and the attempt that are under way at its end.
"""

import asyncio
import math

from elaunch.api import RendezvousUnreachable


RENEWALS = 8
"""How often it is renewed in one time to live: as often as a lease of `c10d`."""

TRUSTED = 0.8
"""Part of its time to live for which a renewal counts: who has none for longer must
stop its workers before the others hear that the lease is over."""


def whole_seconds(ttl: float) -> int:
    """Return a time to live as etcd counts it: in whole seconds, from 1."""
    return max(1, math.ceil(ttl))


def stood_still(silence: float) -> str:
    """Return why a lease is lost that nobody could even try to renew in time."""
    return f"nothing renewed it for {silence:.3g} s: this host stood still"


def check_held(lost: asyncio.Future[str], key: str) -> None:
    """Refuse a key if the lease that it is to live by is over.

    Args:
        lost: Done, with the reason, when the lease is lost.
        key: The key.

    Raises:
        RendezvousUnreachable: If it is.
    """
    if lost.done():
        raise RendezvousUnreachable(
            f"the lease of {key!r} is lost: {lost.result()}; join again"
        )
