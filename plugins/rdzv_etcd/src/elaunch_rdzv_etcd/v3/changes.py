"""Writes and deletions that are safe to make again after no answer.

Each is a transaction that compares the key's revision, also where the caller does not
care which one it has: an attempt that got no answer may arrive late, and must not undo
what was written since. The value carries the id of its write, ``WRITE_ID VALUE``, by
which an earlier attempt that was carried out after all is known.

A key that was created and is deleted looks as it did before, so that an attempt to
create it could bring it back. Every attempt but the first therefore leaves a mark, with
the lease of the key, whether it creates the key or finds another one's there, and none
does anything where there is a mark.
"""

import base64
import re
import secrets
from collections.abc import Mapping
from typing import Any

import attrs

from elaunch.api import ABSENT, RendezvousCorrupt


_VALUE = re.compile(rb"([0-9a-f]{16}) (.*)", re.DOTALL)

NO_LEASE = 0

_MARK = b"\xff"  # in no text, so that neither a key nor a prefix can meet it
_CREATED, _REFUSED = b"created", b"refused"  # what the attempt did that left a mark


def text(data: bytes) -> str:
    """Return bytes as the gateway's JSON has them."""
    return base64.b64encode(data).decode()


@attrs.frozen
class Record:
    """A key as it is in etcd.

    Attributes:
        place: Where it lies.
        data: What it holds.
        revision: Revision of its last change.
    """

    place: bytes
    data: bytes = attrs.field(repr=False)
    revision: int

    @classmethod
    def of(cls, kv: Mapping[str, Any]) -> "Record":
        """Read what the gateway says of a key; what is zero or empty, it leaves out."""
        return cls(
            base64.b64decode(kv["key"]),
            base64.b64decode(kv.get("value", "")),
            int(kv.get("mod_revision", ABSENT)),
        )

    @property
    def value(self) -> bytes:
        """The value that was put.

        Raises:
            RendezvousCorrupt: If it was put by no agent.
        """
        match = _VALUE.fullmatch(self.data)
        if match is None:
            raise RendezvousCorrupt(
                f"etcd holds something at {self.place.decode(errors='replace')!r} that "
                f"no agent writes; do all nodes run the same version of elaunch?"
            )
        return match[2]

    @property
    def write_id(self) -> bytes:
        """Id of the write that put it; empty if it was none of ours."""
        match = _VALUE.fullmatch(self.data)
        return match[1] if match else b""


@attrs.define(eq=False)
class Change:
    """One write or deletion of one caller.

    Attributes:
        place: Where the key lies.
        value: The value; `None` to delete the key.
        expected: Revision that the key must have, or `None` for any.
        basis: Revision that it is thought to have where any will do.
        lease: Id of the lease that the key is to live by, or `NO_LEASE`.
        outcome: Once settled: revision of the change, for a key that an earlier attempt
            has deleted the last one known; `None` if the key had another revision, or
            if there was none to delete.
    """

    place: bytes
    value: bytes | None
    expected: int | None = None
    basis: int = ABSENT
    lease: int = NO_LEASE
    outcome: int | None = attrs.field(default=None, init=False)
    _write_id: bytes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._write_id = _new_id()
        if self.expected is not None:
            self.basis = self.expected

    @property
    def size(self) -> int:
        """About how many bytes it takes in a request."""
        return len(self.place) + len(self.value or b"")

    def operation(self, *, in_doubt: bool) -> dict[str, Any]:
        """Return the attempt that is to be made now, as a part of a transaction.

        Args:
            in_doubt: Whether an earlier attempt got no answer.
        """
        conditions = [_at_revision(self.place, self.basis)]
        if self.value is None:
            changes = [{"request_delete_range": {"key": text(self.place)}}]
        else:
            changes = [self._put(self.place, self._write_id + b" " + self.value)]
        found = [_look(self.place)]
        if self._creates:
            mark = self.place + _MARK + self._write_id
            conditions.append(_at_revision(mark, ABSENT))
            found.append(_look(mark))
            if in_doubt:
                changes.append(self._put(mark, _CREATED))
                found.append(self._put(mark, _REFUSED))
        return {
            "request_txn": {
                "compare": conditions,
                "success": changes,
                "failure": found,
            }
        }

    @property
    def _creates(self) -> bool:
        return self.value is not None and self.basis == ABSENT

    def _put(self, place: bytes, data: bytes) -> dict[str, Any]:
        put = {"key": text(place), "value": text(data), "lease": str(self.lease)}
        return {"request_put": put}

    def settle(self, answer: Mapping[str, Any], *, in_doubt: bool) -> bool:
        """Read the answer to the last attempt.

        Args:
            answer: The answer to `operation`.
            in_doubt: Whether an earlier attempt got no answer.

        Returns:
            Whether the change is settled; else another attempt must be made.
        """
        # What vanished after an attempt without an answer, that one deleted.
        vanished = (self.basis or None) if in_doubt else None
        result = answer["response_txn"]
        if result.get("succeeded"):
            (change,) = result["responses"][0].values()
            absent = self.value is None and self.basis == ABSENT
            self.outcome = vanished if absent else int(change["header"]["revision"])
            return True
        record, *marks = map(_found, result["responses"][:2])
        mark = marks[0] if marks else None
        if record and record.write_id == self._write_id:
            self.outcome = record.revision
        elif mark and mark.data == _CREATED:
            self.outcome = mark.revision
        elif self.value is None and record is None:
            self.outcome = vanished
        elif self.expected is None:
            self.basis = record.revision if record else ABSENT
            if mark:
                # What was sent until now does nothing any more, where it stands.
                self._write_id = _new_id()
            return False
        return True


def _new_id() -> bytes:
    return secrets.token_hex(8).encode()


def _at_revision(place: bytes, revision: int) -> dict[str, Any]:
    return {
        "key": text(place),
        "target": "MOD",
        "result": "EQUAL",
        "mod_revision": str(revision),
    }


def _look(place: bytes) -> dict[str, Any]:
    return {"request_range": {"key": text(place)}}


def _found(response: Mapping[str, Any]) -> Record | None:
    found = response["response_range"].get("kvs", ())
    return Record.of(found[0]) if found else None
