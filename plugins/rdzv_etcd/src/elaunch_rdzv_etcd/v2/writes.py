"""Writes and deletions that are safe to make again after no answer.

Each object is one write of one caller. Called again, it first finds out whether an
earlier attempt did it. One that got no answer may still be carried out, much later: a
member that stood still finds the request in its socket. So each names the index that it
replaces, and comes to nothing if the key has changed by then.

Only a creation has no index to name: "it does not exist" is all that etcd's v2 API lets
it ask. If one attempt stands still, the next one creates the key, and somebody deletes
that, then the first one creates it again. Nothing prevents that; the key goes with the
lease that it was put under, or, if there is none, with the job.
"""

import secrets

import attrs

from elaunch.api import ABSENT
from elaunch_rdzv_etcd.v2.client import ConditionFailed, EtcdClient
from elaunch_rdzv_etcd.v2.nodes import MODIFIED, Node, encode


@attrs.frozen
class Written:
    """A successful write.

    Attributes:
        revision: The key's new revision.
        index: Its ``modifiedIndex``, which is later if it was renewed since.
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

    def __call__(self, client: EtcdClient) -> Written | None:
        """Make it, once; `None` if the key has another revision.

        Also `None` if an earlier attempt got no answer, but did set the key, and
        somebody else has already changed it since.
        """
        if self.expected is None:
            return self._put(client)
        if self.expected == ABSENT:
            return self._create(client)
        return self._swap(client, self.expected, self.expected)

    def settled(self, written: Written) -> str:
        """Return the text with which the key keeps its revision when it is renewed."""
        return self._text(str(written.revision))

    def _put(self, client: EtcdClient) -> Written:
        while True:
            node = client.read(self.path)
            if node is None:
                written = self._create(client)
            else:
                written = self._mine(node) or self._swap(
                    client, node.revision, node.index
                )
            if written:
                return written

    def _create(self, client: EtcdClient) -> Written | None:
        try:
            index = client.create(self.path, self._text(MODIFIED), self.ttl)
        except ConditionFailed:
            return self._mine(client.read(self.path))
        return Written(index, index)

    def _swap(self, client: EtcdClient, expected: int, index: int) -> Written | None:
        while True:
            try:
                index = client.swap(self.path, self._text(MODIFIED), self.ttl, index)
            except ConditionFailed:
                node = client.read(self.path)
                mine = self._mine(node)
                if mine or node is None or node.revision != expected:
                    return mine
                index = node.index  # only a renewal was faster
            else:
                return Written(index, index)

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
    """

    path: str
    revision: int | None = None
    write_id: str | None = None
    _tried: bool = attrs.field(default=False, init=False)

    def __call__(self, client: EtcdClient) -> bool:
        """Make it, once; return whether it deleted the key."""
        again, self._tried = self._tried, True
        while True:
            node = client.read(self.path)
            if node is None:
                return again  # what vanished after an attempt, that one deleted
            if not self._means(node):
                return False
            try:
                return client.delete(self.path, node.index) or again
            except ConditionFailed:
                continue  # perhaps only a renewal was faster

    def _means(self, node: Node) -> bool:
        if self.write_id is not None:
            return node.write_id == self.write_id
        return self.revision is None or node.revision == self.revision
