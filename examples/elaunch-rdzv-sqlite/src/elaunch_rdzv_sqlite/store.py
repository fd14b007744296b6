"""The five methods that a polling store needs, over an SQLite file."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from typing import TypeVar

import attrs

from elaunch.api import ABSENT, Entry, Listing, PollingStore, RendezvousUnreachable


T = TypeVar("T")

SCHEMA = "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value, revision)"


@attrs.define(eq=False)
class SqliteStore(PollingStore):
    """A client of the file, which is created if need be."""

    path: str

    async def read(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None`."""
        return await self._transact(lambda db: _read(db, key))

    async def write(self, key: str, value: bytes, expected: int | None) -> int | None:
        """Write a key if it is at a revision."""

        def change(db: sqlite3.Connection) -> int | None:
            if expected not in (None, _revision(db, key)):
                return None
            row = (key, value, _advance(db))
            db.execute("REPLACE INTO entries VALUES (?, ?, ?)", row)
            return row[-1]

        return await self._transact(change)

    async def remove(self, key: str, expected: int | None) -> bool:
        """Remove a key if it is at a revision."""

        def change(db: sqlite3.Connection) -> bool:
            present = _revision(db, key)
            if present == ABSENT or expected not in (None, present):
                return False
            db.execute("DELETE FROM entries WHERE key = ?", (key,))
            return _advance(db) > present

        return await self._transact(change)

    async def scan(self, prefix: str) -> Listing:
        """Return all entries under a prefix."""
        query = "SELECT * FROM entries WHERE substr(key, 1, ?) = ? ORDER BY key"

        def look(db: sqlite3.Connection) -> Listing:
            rows = db.execute(query, (len(prefix), prefix))
            return Listing(tuple(Entry(*row) for row in rows), _last(db))

        return await self._transact(look)

    async def disconnect(self) -> None:
        """Nothing stays open between two transactions."""

    async def _transact(self, step: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            with contextlib.closing(sqlite3.connect(self.path)) as db, db:
                db.execute("BEGIN IMMEDIATE")
                db.execute(SCHEMA)
                return step(db)

        try:
            return await asyncio.to_thread(run)
        except sqlite3.Error as error:
            raise RendezvousUnreachable(f"{self.path!r}: {error}") from error


def _read(db: sqlite3.Connection, key: str) -> Entry | None:
    row = db.execute("SELECT * FROM entries WHERE key = ?", (key,)).fetchone()
    return Entry(*row) if row else None


def _revision(db: sqlite3.Connection, key: str) -> int:
    entry = _read(db, key)
    return entry.revision if entry else ABSENT


def _last(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _advance(db: sqlite3.Connection) -> int:
    db.execute(f"PRAGMA user_version = {_last(db) + 1}")
    return _last(db)
