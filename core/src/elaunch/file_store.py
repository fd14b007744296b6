"""`FileStore`: nodes meet in a directory that all of them see, without any server."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import attrs

from elaunch.errors import RendezvousUnreachable
from elaunch.polling_store import CLOSED, PollingStore
from elaunch.store import ABSENT, Entry, Listing


if TYPE_CHECKING:
    from elaunch.locked_document import Document, LockedDocument


T = TypeVar("T")

LOCK_TIMEOUT = 10.0
"""Seconds to wait for the lock of the directory; others hold it for milliseconds."""


@attrs.define(eq=False)
class FileStore(PollingStore):
    """A client of the store in a directory, on a local disk or on NFS.

    Open it with `connect`. Everything that touches a file runs in one thread.
    """

    _document: "LockedDocument"
    _thread: Executor | None

    @classmethod
    async def connect(
        cls,
        directory: str,
        *,
        poll_interval: float = 0.1,
        lock_timeout: float = LOCK_TIMEOUT,
    ) -> "FileStore":
        """Open the store in a directory; create both where there is none.

        Args:
            directory: The directory; its parent must exist.
            poll_interval: As for `PollingStore`.
            lock_timeout: Seconds to wait for other writers.

        Raises:
            UsageError: If the directory is not one that can be used.
            RendezvousCorrupt: If the store in it is damaged.
            RendezvousUnreachable: If it can't be reached.
        """
        from concurrent.futures import ThreadPoolExecutor

        from elaunch.locked_document import LockedDocument

        document = LockedDocument(Path(directory), lock_timeout)
        thread = ThreadPoolExecutor(1, "elaunch-file-store")
        store = cls(document, thread, poll_interval=poll_interval)
        try:
            await store._run(document.create)
        except BaseException:
            await store.disconnect()
            raise
        return store

    async def read(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None`."""
        return (await self._run(self._document.load)).entries.get(key)

    async def write(self, key: str, value: bytes, expected: int | None) -> int | None:
        """Write a key if it is at a revision."""
        return await self._run(lambda: self._write_now(key, value, expected))

    async def remove(self, key: str, expected: int | None) -> bool:
        """Remove a key if it is at a revision."""
        return await self._run(lambda: self._remove_now(key, expected))

    async def scan(self, prefix: str) -> Listing:
        """Return all entries under a prefix."""
        document = await self._run(self._document.load)
        keys = sorted(key for key in document.entries if key.startswith(prefix))
        return Listing(tuple(document.entries[key] for key in keys), document.revision)

    async def disconnect(self) -> None:
        """Let the thread end when it has done what was begun."""
        thread, self._thread = self._thread, None
        if thread:
            thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            raise RendezvousUnreachable(CLOSED)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _write_now(self, key: str, value: bytes, expected: int | None) -> int | None:
        with self._document.change() as now:
            if expected not in (None, _revision(now, key)):
                return None
            revision = now.revision + 1
            entries = {**now.entries, key: Entry(key, value, revision)}
            self._document.save(attrs.evolve(now, revision=revision, entries=entries))
            return revision

    def _remove_now(self, key: str, expected: int | None) -> bool:
        with self._document.change() as now:
            present = _revision(now, key)
            if present == ABSENT or expected not in (None, present):
                return False
            entries = {name: now.entries[name] for name in now.entries if name != key}
            self._document.save(
                attrs.evolve(now, revision=now.revision + 1, entries=entries)
            )
            return True


def _revision(document: "Document", key: str) -> int:
    entry = document.entries.get(key)
    return entry.revision if entry else ABSENT
