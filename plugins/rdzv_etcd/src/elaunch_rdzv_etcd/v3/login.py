"""Who we are to etcd's authentication: a password for a token, a token for requests."""

import threading
from collections.abc import Callable

import attrs


@attrs.define(eq=False)
class Login:
    """The token that all connections of a client share. For use in threads.

    Checking a password is made slow on purpose, so that it is done once, not for each
    connection.
    """

    _token: str | None = attrs.field(default=None, init=False, repr=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def token(self, stale: str | None, fetch: Callable[[], str]) -> str:
        """Return a token, empty where etcd asks for none.

        Args:
            stale: One that was refused, or `None`.
            fetch: Gets another one.
        """
        with self._lock:
            if self._token is None or self._token == stale:
                self._token = fetch()
            return self._token

    def forget(self) -> None:
        """Get another token next time."""
        with self._lock:
            self._token = None
