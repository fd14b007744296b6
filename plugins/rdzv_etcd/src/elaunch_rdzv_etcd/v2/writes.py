"""Writes and deletions that are safe to make again after no answer.

Each object is one write of one caller. Called again, it first finds out whether an
earlier attempt did it.
"""

import secrets

import attrs

from elaunch.api import ABSENT
from elaunch_rdzv_etcd.v2.client import ConditionFailed, EtcdClient
from elaunch_rdzv_etcd.v2.nodes import CREATED, KEPT, MODIFIED, Node, encode


@attrs.frozen
class Written:
    """A successful write.

    Attributes:
        revision: The key's new revision.
        index: Its ``modifiedIndex``, which is later if the key was written once more.
    """

    revision: int
    index: int


@attrs.define(eq=False)
class Write:
    """One put or compare and set.

    Attributes:
        path: Path of the file.
        value: The value.
        ttl: Seconds that the key lives unless it is renewed.
        life: Who renews it.
        expected: Revision that the key must have, or `None` for any.
        write_id: Tells this write from others of the same value.
    """

    path: str
    value: bytes
    ttl: int
    life: str
    expected: int | None = None
    write_id: str = attrs.field(factory=lambda: secrets.token_hex(8), init=False)
    _tried: bool = attrs.field(default=False, init=False)

    def __call__(self, client: EtcdClient) -> Written | None:
        """Make it, once; `None` if the key has another revision.

        Also `None` if an earlier attempt got no answer, but did set the key, and
        somebody else has already changed it since.
        """
        again, self._tried = self._tried, True
        if self.expected is None:
            return self._put(client, again=again)
        if self.expected == ABSENT:
            return self._create(client)
        return self._swap(client, self.expected)

    def _put(self, client: EtcdClient, *, again: bool) -> Written:
        earlier = self._mine(client.read(self.path)) if again else None
        if earlier:
            return earlier
        index = client.put(self.path, self._text(CREATED), self.ttl)
        return Written(index, index)

    def _create(self, client: EtcdClient) -> Written | None:
        try:
            index = client.create(self.path, self._text(CREATED), self.ttl)
        except ConditionFailed:
            return self._mine(client.read(self.path))
        return Written(index, index)

    def _swap(self, client: EtcdClient, expected: int) -> Written | None:
        index = expected
        while True:
            try:
                index = client.swap(self.path, self._text(MODIFIED), self.ttl, index)
            except ConditionFailed:
                node = client.read(self.path)
                if node is None:
                    return None
                if node.write_id == self.write_id:
                    return self._restate(client, node.revision, node.index)
                if node.revision != expected:
                    return None
                index = node.index  # only a renewal was faster
            else:
                return self._restate(client, index, index)

    def _restate(self, client: EtcdClient, revision: int, index: int) -> Written:
        """Write the revision down if renewals are soon going to move the index."""
        if self.life == KEPT or revision != index:
            return Written(revision, index)
        try:
            text = self._text(str(revision))
            return Written(revision, client.swap(self.path, text, self.ttl, index))
        except ConditionFailed:
            return Written(revision, index)  # it was replaced in this moment

    def _mine(self, node: Node | None) -> Written | None:
        if node is None or node.write_id != self.write_id:
            return None
        return Written(node.revision, node.index)

    def _text(self, basis: str) -> str:
        return encode(basis, self.life, self.write_id, self.value)


@attrs.define(eq=False)
class Deletion:
    """One deletion.

    Attributes:
        path: Path of the file.
        revision: Revision that the key must have, or `None` for any.
        write_id: Id of the write that must have put it, or `None` for any.
        index: Where its ``modifiedIndex`` is thought to be, if that matters.
    """

    path: str
    revision: int | None = None
    write_id: str | None = None
    index: int | None = None
    _tried: bool = attrs.field(default=False, init=False)

    def __call__(self, client: EtcdClient) -> bool:
        """Make it, once; return whether it deleted the key."""
        again, self._tried = self._tried, True
        index = self.revision if self.index is None else self.index
        while True:
            try:
                # What vanished after an attempt without an answer, that one deleted.
                return client.delete(self.path, index) or again
            except ConditionFailed:
                node = client.read(self.path)
                if node is None or not self._means(node):
                    return False
                index = node.index  # only a renewal was faster

    def _means(self, node: Node) -> bool:
        if self.write_id is not None:
            return node.write_id == self.write_id
        return node.revision == self.revision
