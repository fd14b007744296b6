"""The store port over an SQLite file, for agents on one host.

Every operation is one immediate transaction, run in the store's own thread. Processes
of one host share the monotonic clock, so a lease is a row with the time of its end.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TypeVar

import attrs

from elaunch.api import (
    ABSENT,
    Entry,
    Lease,
    Listing,
    RendezvousUnreachable,
    StoreEvent,
)


T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB, revision INT,
                                    lease INT);
CREATE TABLE IF NOT EXISTS changes (revision INTEGER PRIMARY KEY AUTOINCREMENT,
                                    key TEXT, value BLOB);
CREATE TABLE IF NOT EXISTS leases  (id INTEGER PRIMARY KEY, ends REAL);
"""


@attrs.define(eq=False)
class SqliteLease:
    """A row in ``leases``, renewed by a task."""

    number: int
    ttl: float
    lost: asyncio.Future[str]
    _store: "SqliteStore"

    async def keep(self) -> None:
        """Renew after each third of the time to live, until it is gone."""
        while await self._store.run(self._renew):  # noqa: ASYNC110 - time is the event
            await asyncio.sleep(self.ttl / 3)
        self.end("the lease expired")

    async def revoke(self) -> None:
        """End the lease and delete its keys now."""
        with contextlib.suppress(RendezvousUnreachable):
            await self._store.run(self._revoke)
        self.end("the lease was revoked")

    def end(self, reason: str) -> None:
        """Tell the holder."""
        if not self.lost.done():
            self.lost.set_result(reason)

    def _renew(self, db: sqlite3.Connection) -> bool:
        ends = time.monotonic() + self.ttl
        change = "UPDATE leases SET ends = ? WHERE id = ?"
        return db.execute(change, (ends, self.number)).rowcount == 1

    def _revoke(self, db: sqlite3.Connection) -> None:
        db.execute("UPDATE leases SET ends = 0 WHERE id = ?", (self.number,))


@attrs.define(eq=False)
class SqliteStore:
    """A client of the file.

    Args:
        path: The file; created if need be.
        poll_interval: Seconds between two looks of a watch: SQLite has no events.
    """

    _path: str
    _poll_interval: float = 0.05
    _db: sqlite3.Connection | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _leases: dict[SqliteLease, asyncio.Task[None]] = attrs.field(
        factory=dict, init=False
    )
    _thread: concurrent.futures.ThreadPoolExecutor = attrs.field(
        factory=lambda: concurrent.futures.ThreadPoolExecutor(1), init=False
    )

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None`."""
        return await self.run(lambda db: _get(db, key))

    async def put(self, key: str, value: bytes, *, lease: Lease | None = None) -> int:
        """Write a key and return its new revision."""
        return await self.run(lambda db: _put(db, key, value, lease))

    async def compare_and_set(
        self, key: str, value: bytes, *, expected: int, lease: Lease | None = None
    ) -> int | None:
        """Write a key if its revision is ``expected``."""

        def change(db: sqlite3.Connection) -> int | None:
            if _revision(db, key) != expected:
                return None
            return _put(db, key, value, lease)

        return await self.run(change)

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Delete a key, if ``expected`` is given only at that revision."""

        def change(db: sqlite3.Connection) -> bool:
            present = _revision(db, key)
            if present == ABSENT or expected not in (None, present):
                return False
            _delete(db, key)
            return True

        return await self.run(change)

    async def list(self, prefix: str) -> Listing:
        """Return all entries whose key begins with ``prefix``."""

        def read(db: sqlite3.Connection) -> Listing:
            query = (
                "SELECT key, value, revision FROM entries "
                "WHERE substr(key, 1, ?) = ? ORDER BY key"
            )
            rows = db.execute(query, (len(prefix), prefix))
            entries = tuple(Entry(*row) for row in rows)
            last = db.execute("SELECT max(revision) FROM changes").fetchone()[0]
            return Listing(entries, last or 0)

        return await self.run(read)

    async def watch(self, prefix: str, since: int) -> AsyncGenerator[StoreEvent, None]:
        """Yield every change under ``prefix`` after ``since``, in order."""
        query = (
            "SELECT key, value, revision FROM changes "
            "WHERE revision > ? AND substr(key, 1, ?) = ? ORDER BY revision"
        )
        while True:
            place = (since, len(prefix), prefix)
            rows = await self.run(functools.partial(_query, query, place))
            for key, value, revision in rows:
                yield StoreEvent(key, value, revision)
                since = revision
            await asyncio.sleep(self._poll_interval)

    async def lease(self, ttl: float) -> Lease:
        """Grant a lease and keep it alive until it is revoked."""
        ends = time.monotonic() + ttl
        grant = "INSERT INTO leases (ends) VALUES (?)"
        number = await self.run(lambda db: db.execute(grant, (ends,)).lastrowid or 0)
        lost = asyncio.get_running_loop().create_future()
        lease = SqliteLease(number, ttl, lost, self)
        self._leases[lease] = asyncio.create_task(lease.keep())
        return lease

    async def close(self) -> None:
        """End all leases and release the file."""
        for lease, keeping in self._leases.items():
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await lease.revoke()
        if self._db and not self._closed:
            await self.run(lambda _: None)  # so that the last leases end now
            await asyncio.to_thread(self._db.close)
        self._closed = True
        self._thread.shutdown()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something in one transaction.

        Raises:
            RendezvousUnreachable: If the file can't be used.
        """
        if self._closed:
            raise RendezvousUnreachable("the store client is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._transact, work)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._db is None:
                self._db = sqlite3.connect(
                    self._path, isolation_level=None, check_same_thread=False
                )
                self._db.executescript(SCHEMA)
            with _transaction(self._db) as db:
                return work(db)
        except sqlite3.Error as error:
            raise RendezvousUnreachable(f"{self._path!r}: {error}") from error


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    db.execute("BEGIN IMMEDIATE")
    try:
        _expire(db)
        yield db
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _expire(db: sqlite3.Connection) -> None:
    ended = (time.monotonic(),)
    gone = "SELECT key FROM entries JOIN leases ON lease = id WHERE ends <= ?"
    for (key,) in db.execute(gone, ended).fetchall():
        _delete(db, key)
    db.execute("DELETE FROM leases WHERE ends <= ?", ended)


def _query(
    query: str, place: tuple[object, ...], db: sqlite3.Connection
) -> list[tuple[str, bytes | None, int]]:
    return db.execute(query, place).fetchall()


def _get(db: sqlite3.Connection, key: str) -> Entry | None:
    query = "SELECT key, value, revision FROM entries WHERE key = ?"
    row = db.execute(query, (key,)).fetchone()
    return Entry(*row) if row else None


def _revision(db: sqlite3.Connection, key: str) -> int:
    entry = _get(db, key)
    return entry.revision if entry else ABSENT


def _put(db: sqlite3.Connection, key: str, value: bytes, lease: Lease | None) -> int:
    number = lease.number if isinstance(lease, SqliteLease) else None
    if number is not None:
        held = db.execute("SELECT 1 FROM leases WHERE id = ?", (number,)).fetchone()
        if not held:
            raise RendezvousUnreachable(f"the lease of {key!r} is lost")
    change = "INSERT INTO changes (key, value) VALUES (?, ?)"
    revision = db.execute(change, (key, value)).lastrowid or 0
    db.execute(
        "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)",
        (key, value, revision, number),
    )
    return revision


def _delete(db: sqlite3.Connection, key: str) -> None:
    db.execute("DELETE FROM entries WHERE key = ?", (key,))
    db.execute("INSERT INTO changes (key, value) VALUES (?, NULL)", (key,))
