"""Who we are to etcd's authentication: a password for a token, a token for requests."""

import threading
from collections.abc import Callable

import attrs

from elaunch_rdzv_etcd.trouble import Unavailable


@attrs.define(eq=False)
class Login:
    """The token that all connections of a client share. For use in threads.

    Checking a password is made slow on purpose, so that it is done once, not for each
    connection.

    Attributes:
        patience: Seconds to wait for a token that another thread fetches.
    """

    patience: float
    _token: str | None = attrs.field(default=None, init=False, repr=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def token(self, stale: str | None, fetch: Callable[[], str]) -> str:
        """Return a token, empty where etcd asks for none.

        Args:
            stale: One that was refused, or `None`.
            fetch: Gets another one.

        Raises:
            Unavailable: If another thread waits for one in vain.
        """
        # Who waits for an endpoint that does not answer must not keep from asking
        # another one who has found that out.
        if not self._lock.acquire(timeout=self.patience):
            raise Unavailable("no answer in time")
        try:
            if self._token is None or self._token == stale:
                self._token = fetch()
            return self._token
        finally:
            self._lock.release()

    def forget(self, stale: str | None) -> None:
        """Get another token next time, unless there is another one already."""
        # Without the lock: whoever fetches a token holds it for long.
        if self._token == stale:
            self._token = None
