"""The connection of a blocking client: made with retries, used by one at a time.

It never reconnects. Nobody knows whether the server has carried out a request whose
reply is lost, and most of them may not be carried out twice.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

from elaunch_rdzv_c10d.exchange import Exchange
from elaunch_rdzv_c10d.wire import U32, hello


_TRY_TIMEOUT = 10.0  # seconds to connect and shake hands before another try is better
_FIRST_DELAY = 0.05  # seconds between two tries; doubles up to the longest
_LONGEST_DELAY = 1.0


class StoreError(ConnectionError):
    """The connection to the store is gone, or the store sent nonsense."""


class StoreTimeout(TimeoutError):
    """The store, or what was waited for in it, did not come in time."""


class Channel:
    """One connection to a store.

    Args:
        host: Name or address of the store's host.
        port: Its port.
        timeout: Seconds to try to connect.

    Raises:
        StoreTimeout: If nobody answers within ``timeout``.
    """

    def __init__(self, host: str, port: int, timeout: float) -> None:
        shown = f"[{host}]" if ":" in host else host
        self.where = f"the store at {shown}:{port}"
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._closed = False
        self._exchange = self._connect(host, port, timeout)

    @contextlib.contextmanager
    def turn(self, timeout: float, needs: str = "") -> Iterator[Exchange]:
        """Have the connection for a request and its reply.

        Args:
            timeout: Seconds for all of it, waiting for one's turn included.
            needs: What to say of a server that hangs up, if it may lack something.

        Raises:
            StoreTimeout: If it takes longer.
            StoreError: If the connection is broken, closed or another process's. After
                any error within a turn it is closed: a reply may still be on its way,
                and would be taken for that of the next request.
        """
        until = time.monotonic() + timeout
        if self._owner != os.getpid():
            raise StoreError(
                f"the connection to {self.where} is that of process {self._owner}, "
                "from which this one was forked; clone() makes one of its own"
            )
        if not self._lock.acquire(timeout=max(0, min(timeout, threading.TIMEOUT_MAX))):
            raise StoreTimeout(
                f"another thread has been using the connection to {self.where} for "
                f"{timeout:g} s; clone() makes one of its own"
            )
        try:
            if self._closed:
                raise self._gone()
            self._exchange.until = until
            try:
                yield self._exchange
            except OSError as error:
                raise self._explain(error, needs) from error
            except BaseException:
                self._closed = True
                raise
        finally:
            self._lock.release()
            if self._closed:
                self.close()

    def close(self) -> None:
        """Close the connection; who waits for it in another thread gets an error.

        Twice is fine, and so is a signal handler.
        """
        self._closed = True
        if self._owner != os.getpid():
            self._exchange.close()  # the parent's own end stays open
            return
        self._exchange.hang_up()
        # Who has a turn may be about to read from it, and closes it at the end.
        if self._lock.acquire(blocking=False):
            self._exchange.close()
            self._lock.release()

    def _gone(self) -> StoreError:
        return StoreError(f"the connection to {self.where} is closed")

    def _explain(self, error: OSError, needs: str) -> OSError:
        """Close, and return what the caller of an operation gets to see."""
        if self._closed:  # by another thread, which is the reason
            return self._gone()
        self._closed = True
        if isinstance(error, TimeoutError):
            return StoreTimeout(f"{self.where} does not answer")
        return StoreError(f"lost {self.where}: {error}{needs}")

    def _connect(self, host: str, port: int, timeout: float) -> Exchange:
        until = time.monotonic() + timeout
        delay = _FIRST_DELAY
        while True:
            try:
                return _dial(host, port, until)
            except OSError as error:
                if time.monotonic() + delay >= until:
                    raise StoreTimeout(
                        f"{self.where} could not be reached for {timeout:g} s: {error}"
                    ) from error
            # Less a random part, so that all workers of a node don't come back in one
            # moment.
            time.sleep(delay * (1 - os.urandom(1)[0] / 512))
            delay = min(delay * 2, _LONGEST_DELAY)


def _dial(host: str, port: int, until: float) -> Exchange:
    """Connect and shake hands once, with the first address that takes us."""
    refusal = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        connection = socket.socket(family, kind, protocol)
        try:
            limit = min(until, time.monotonic() + _TRY_TIMEOUT)
            connection.settimeout(max(0.001, limit - time.monotonic()))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            exchange = Exchange(connection, limit)
            nonce = os.urandom(U32.size)
            exchange.send(hello(*U32.unpack(nonce)))
            exchange.expect(nonce)
        except OSError as error:
            connection.close()
            refusal = error
        except BaseException:
            connection.close()
            raise
        else:
            return exchange
    raise refusal
