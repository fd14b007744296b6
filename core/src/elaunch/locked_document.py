"""One document in a directory that processes of several hosts share.

It is replaced as a whole, so that whoever opens it by its name reads one moment of it,
on NFS, too, and needs no lock. Whoever changes it holds a lock meanwhile. It is not
synced to the disk: it is about jobs that run, and none outlives its hosts. Everything
here blocks.
"""

import contextlib
import errno
import fcntl
import os
import random
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import msgspec

from elaunch.errors import RendezvousCorrupt, RendezvousUnreachable, UsageError
from elaunch.store import Entry


FORMAT = 1

LONGEST_TRY = 0.02
"""Seconds between two tries to get the lock at most: a lock tells nobody its end."""

_USERS_FAULT = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT, errno.ELOOP}
)
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
_HELD = frozenset({errno.EWOULDBLOCK, errno.EACCES})


@attrs.frozen
class _Header:
    """The first line of the document.

    It names the content: a store's id and revision never stand for two contents.
    """

    format: int
    store: str
    revision: int
    entries: int


@attrs.frozen
class Document:
    """A store at one revision.

    Attributes:
        store: Id of the store, made up when it was created.
        revision: Revision of the last change.
        entries: The entries by key.
    """

    store: str
    revision: int = 0
    entries: Mapping[str, Entry] = attrs.field(factory=dict)

    def encode(self) -> bytes:
        """Return the header as a line of JSON and each entry as another."""
        header = _Header(FORMAT, self.store, self.revision, len(self.entries))
        return msgspec.json.Encoder().encode_lines([header, *self.entries.values()])


_header = msgspec.json.Decoder(_Header)
_entries = msgspec.json.Decoder(Entry)


@attrs.define(eq=False)
class LockedDocument:
    """The document of a directory.

    Attributes:
        directory: The directory.
        timeout: Seconds to wait for the lock.
    """

    directory: Path
    timeout: float
    _line: bytes = attrs.field(default=b"", init=False)
    _document: Document | None = attrs.field(default=None, init=False)

    @property
    def path(self) -> Path:
        """The document."""
        return self.directory / "store.jsonl"

    def create(self) -> None:
        """Create directory and document where they are not there yet.

        Raises:
            UsageError: If the directory is not one that can be used.
            RendezvousUnreachable: If it can't be reached.
        """
        try:
            with contextlib.suppress(FileExistsError):
                self.directory.mkdir(mode=0o700)
            with self.lock():
                if not self.path.exists():
                    self.save(Document(secrets.token_hex(8)))
        except OSError as error:
            kind = UsageError if error.errno in _USERS_FAULT else RendezvousUnreachable
            raise kind(
                f"nodes can't meet in directory {str(self.directory)!r}: "
                f"{error.strerror}; its parent must exist, and this user must be able "
                f"to write in it"
            ) from error
        self.load()

    def load(self) -> Document:
        """Return the document as it is now.

        Raises:
            RendezvousCorrupt: If it is none.
            RendezvousUnreachable: If it can't be read or is not the one it was.
        """
        with self._reachable():
            try:
                return self._read()
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
            # NFS: it was replaced between opening and reading it.
            return self._read()

    @contextlib.contextmanager
    def change(self) -> Iterator[Document]:
        """Hold the lock, and yield the document to change: `save` another one.

        Raises:
            RendezvousCorrupt: As for `load`.
            RendezvousUnreachable: Also if the lock is not to be had, or no space is.
        """
        with self._reachable(), self.lock():
            yield self.load()

    def save(self, document: Document) -> None:
        """Replace the document; the caller holds the lock."""
        new = self.directory / "store.tmp"  # left by a writer that was killed: reused
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(document.encode())
        new.replace(self.path)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock: against other processes, and other clients in this one."""
        file = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._wait_for_lock(file)
            try:
                yield
            finally:
                # Not left to closing it: a child forked just now has it open, too.
                fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            os.close(file)

    def _wait_for_lock(self, file: int) -> None:
        deadline = time.monotonic() + self.timeout
        pause = 0.001
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    raise UsageError(
                        f"the file system of {str(self.directory)!r} has no locks: "
                        f"{error.strerror}; name a directory on another"
                    ) from error
                if error.errno not in _HELD:
                    raise
            else:
                return
            if time.monotonic() >= deadline:
                raise RendezvousUnreachable(
                    f"{str(self.directory / 'lock')!r} was locked by another process "
                    f"for {self.timeout:g} s"
                )
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - spreads tries
            pause = min(2 * pause, LONGEST_TRY)

    def _read(self) -> Document:
        with self.path.open("rb") as file:
            line = file.readline()
            # Whether the document has changed is asked of its first line: times and
            # inode numbers repeat, and NFS may tell old ones.
            if self._document is None or line != self._line:
                document = self._decode(line, file.read())
                if self._document and self._document.store != document.store:
                    raise RendezvousUnreachable(
                        f"the store in {str(self.directory)!r} was replaced by another"
                    )
                self._line, self._document = line, document
        return self._document

    def _decode(self, line: bytes, lines: bytes) -> Document:
        try:
            header = _header.decode(line)
            if header.format != FORMAT:
                raise RendezvousCorrupt(
                    f"{str(self.path)!r} has format {header.format}, and this version "
                    f"of elaunch reads {FORMAT}; use one version on all nodes"
                )
            entries = {entry.key: entry for entry in _entries.decode_lines(lines)}
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._corrupt(str(error)) from error
        if len(entries) != header.entries:
            raise self._corrupt(f"{len(entries)} of {header.entries} entries are there")
        return Document(header.store, header.revision, entries)

    def _corrupt(self, reason: str) -> RendezvousCorrupt:
        return RendezvousCorrupt(
            f"{str(self.path)!r} is damaged: {reason}; end the jobs that meet there "
            f"and remove it"
        )

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RendezvousUnreachable(
                f"the store in {str(self.directory)!r} can't be used: {error.strerror}"
            ) from error
