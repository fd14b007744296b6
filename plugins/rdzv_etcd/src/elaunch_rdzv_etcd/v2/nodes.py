"""What this plugin writes into a file of etcd, and how it reads revisions out of it.

A lease of etcd's v2 API is the time to live of each key, and renewing it counts as a
modification: the ``modifiedIndex`` of a leased key moves although nothing has changed.
So the revision of a key is not simply that index. The text of each file is
``BASIS.LIFE.WRITE_ID.BASE64``, and the basis says where the revision stands:

- ``modified``: it is the ``modifiedIndex``. The key was not renewed yet.
- digits: it is that number. Whoever renews a key for the first time writes it again,
  with the revision that it had got, and after that only gives it more time.

The life tells who renews the time to live: ``leased``, who wrote it; ``kept``, whoever
is there of the job, see `elaunch_rdzv_etcd.v2.upkeep`. The write id tells whose write
it was after a request that got no answer.
"""

import base64
import binascii
import re

import attrs

from elaunch.api import RendezvousCorrupt


MODIFIED = "modified"
LEASED = "leased"
KEPT = "kept"

MAX_VALUE = 1024 * 1024
"""Most bytes of a value. etcd takes 10 MiB in one request, encoded twice."""

_TEXT = re.compile(r"(modified|\d+)\.(leased|kept)\.(\w+)\.([A-Za-z0-9+/=]*)")


def encode(basis: str, life: str, write_id: str, value: bytes) -> str:
    """Return the text of a file."""
    return f"{basis}.{life}.{write_id}.{base64.b64encode(value).decode()}"


@attrs.frozen
class Node:
    """A file in etcd.

    Attributes:
        path: Its path.
        text: Its content.
        index: Index of etcd at its last modification, renewals included.
    """

    path: str
    text: str = attrs.field(repr=False)
    index: int

    @property
    def value(self) -> bytes:
        """The value that was put.

        Raises:
            RendezvousCorrupt: If the text is not ours, as for all properties.
        """
        try:
            return base64.b64decode(self._fields()[3], validate=True)
        except binascii.Error:
            raise self._corrupt() from None

    @property
    def write_id(self) -> str:
        """Id of the write that put it."""
        return self._fields()[2]

    @property
    def is_kept(self) -> bool:
        """Whether its life does not depend on who wrote it."""
        return self._fields()[1] == KEPT

    @property
    def is_settled(self) -> bool:
        """Whether its revision stays when it is renewed."""
        return self._fields()[0] != MODIFIED

    @property
    def revision(self) -> int:
        """Index of etcd at its last change, renewals not included."""
        basis = self._fields()[0]
        return self.index if basis == MODIFIED else int(basis)

    def settled(self) -> str:
        """Return the text with which it keeps its revision when it is renewed."""
        _, *rest = self._fields()
        return ".".join((str(self.revision), *rest))

    def _fields(self) -> tuple[str, str, str, str]:
        match = _TEXT.fullmatch(self.text)
        if match is None:
            raise self._corrupt()
        basis, life, write_id, data = match.groups()
        return basis, life, write_id, data

    def _corrupt(self) -> RendezvousCorrupt:
        return RendezvousCorrupt(
            f"etcd holds something at {self.path!r} that no agent writes; "
            f"do all nodes run the same version of elaunch?"
        )


@attrs.frozen
class Change:
    """One entry of etcd's history.

    Attributes:
        path: Path of the file or directory that changed.
        index: Index of etcd at the change.
        node: The file as it is now, or `None` if it is gone or is a directory.
        gone: Whether it was deleted or has expired.
        expired: Whether it has expired.
        directory: Whether it is a directory.
    """

    path: str
    index: int
    node: Node | None
    gone: bool
    expired: bool
    directory: bool


@attrs.frozen
class Seen:
    """What a watch saw.

    Attributes:
        index: Index of etcd up to which everything has been seen.
        change: The first change, or `None` if there was none up to that index.
    """

    index: int
    change: Change | None
