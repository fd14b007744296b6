"""A watch that misses nothing: streams, one after the other, from where the last ended.

A stream is given up when requests of other kinds have moved to another endpoint, since
a member that is cut off says nothing; when they had trouble that is over, since nobody
may have told that its connection broke; and after a long silence, since a load balancer
may have forgotten it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from elaunch.api import StoreEvent, WatchCompacted
from elaunch_rdzv_etcd.endpoints import Endpoint
from elaunch_rdzv_etcd.link import Link, closed
from elaunch_rdzv_etcd.trouble import Refused, Unavailable
from elaunch_rdzv_etcd.v3.changes import Record
from elaunch_rdzv_etcd.v3.gateway import Gateway
from elaunch_rdzv_etcd.v3.keys import Keys
from elaunch_rdzv_etcd.v3.refusals import judge
from elaunch_rdzv_etcd.v3.stream import Stream


logger = logging.getLogger(__name__)

IDLE = 60.0
"""Seconds of silence after which a stream is replaced by another."""


@attrs.define(eq=False)
class Watch:
    """Changes under one prefix.

    Attributes:
        prefix: The prefix.
        since: Revision of etcd up to which everything has been seen.
    """

    prefix: str
    since: int
    _keys: Keys
    _link: Link[Gateway]
    _closing: asyncio.Future[None]
    _open: Callable[[int], Stream]
    _stream: Stream | None = attrs.field(default=None, init=False)
    _created: bool = attrs.field(default=False, init=False)
    _refused: bool = attrs.field(default=False, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _heard: float = attrs.field(init=False)
    _parts: list[Any] = attrs.field(factory=list, init=False)
    _seen: deque[StoreEvent] = attrs.field(factory=deque, init=False)

    def __attrs_post_init__(self) -> None:
        self._heard = asyncio.get_running_loop().time()

    async def next(self) -> StoreEvent:
        """Return the next change.

        Raises:
            WatchCompacted: If etcd has forgotten it.
            RendezvousUnreachable: If there was no answer for the link's patience, a
                refusal, or the store client was closed.
        """
        while not self._seen:
            await self._listen()
        return self._seen.popleft()

    def close(self) -> None:
        """End the watch at once."""
        stream, self._stream = self._stream, None
        if self._created:
            # It was there until now, however little there was to tell.
            self._heard = asyncio.get_running_loop().time()
        self._created, self._parts = False, []
        if stream:
            stream.close()

    async def _listen(self) -> None:
        ring = self._link.ring
        if self._stream and self._stream.etcd.endpoint != ring.endpoint:
            self.close()
        endpoint = ring.endpoint
        stream = self._stream = self._stream or self._open(self.since)
        try:
            said = await self._hear(stream)
            if said is None:
                await self._replace()
            else:
                await self._take(said, stream.etcd.endpoint)
        except Unavailable as error:
            self.close()
            ring.failed(endpoint, error)
            await self._pause(error)
        except Refused as error:
            self.close()
            if self._refused or ring.target.user is None:
                raise ring.refused(error) from error
            # It may only be the token that has expired: etcd tells no difference here.
            self._refused = True
            stream.etcd.forget_token()

    async def _replace(self) -> None:
        was_created = self._created
        self.close()
        # One that was never there must not follow each failure of other requests.
        if not was_created:
            await self._pause(Unavailable("no answer in time"))

    async def _hear(self, stream: Stream) -> dict[str, Any] | None:
        """Return what etcd says next; `None` if the stream has to be replaced."""
        ring = self._link.ring
        saying, changed = asyncio.ensure_future(stream.next()), ring.changed
        try:
            await asyncio.wait(
                _any(saying, self._closing, changed),
                timeout=IDLE if self._created else 2 * ring.target.timeout,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._closing.done():
                raise closed()
            if saying.done():
                said = saying.result()
                if isinstance(said, Exception):
                    raise said
                return said
            if self._created or changed.done():
                return None
            raise Unavailable("no answer in time")
        finally:
            saying.cancel()

    async def _take(self, said: dict[str, Any], endpoint: Endpoint) -> None:
        self._heard = asyncio.get_running_loop().time()
        try:
            if said.get("canceled"):
                raise self._canceled(said)
            if said.get("created"):
                self._created, self._refused = True, False
                cluster_id = said["header"].get("cluster_id")
                self._link.ring.check(endpoint, cluster_id)
                await self._compare(int(said["header"]["revision"]))
            self._parts += said.get("events", ())
            # Parts of one message may be parts of one transaction.
            if not said.get("fragment"):
                self._tell()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unavailable("it sends what etcd does not") from error

    async def _compare(self, revision: int) -> None:
        """Find out whether who knows less than we do is late, or has lost it."""
        if revision < self.since:
            start, _ = self._keys.range_of(self.prefix)
            latest = await self._link.call(lambda etcd: etcd.revision(start))
            if latest < self.since:
                raise self._begin_anew(f"has lost all behind {latest}")

    def _tell(self) -> None:
        parts, self._parts = self._parts, []
        for event in parts:
            self._failures = 0
            record = Record.of(event["kv"])
            self.since = max(self.since, record.revision)
            key = self._keys.key(record.place)
            if key is not None and key.startswith(self.prefix):
                value = None if event.get("type") == "DELETE" else record.value
                self._seen.append(StoreEvent(key, value, record.revision))

    def _canceled(self, said: dict[str, Any]) -> Exception:
        compacted = int(said.get("compact_revision", 0))
        if compacted:
            return self._begin_anew(f"knows changes from revision {compacted} on")
        return judge(said.get("cancel_reason") or "the watch was canceled")

    def _begin_anew(self, why: str) -> WatchCompacted:
        logger.info(
            "the watch of %r saw all up to revision %d, but etcd %s: reading anew",
            self.prefix,
            self.since,
            why,
        )
        return WatchCompacted()

    async def _pause(self, error: Unavailable) -> None:
        self._failures += 1
        patience = self._link.patience
        left = self._heard + patience - asyncio.get_running_loop().time()
        pause = self._link.ring.endure(error, self._failures, left, patience)
        await asyncio.wait({self._closing}, timeout=pause)


def _any(*futures: asyncio.Future[Any]) -> set[asyncio.Future[Any]]:
    return set(futures)
