"""What agents and the control store say to each other, and how it is framed.

A connection opens with `MAGIC`. Everything after it, in both directions, is frames: a
32-bit little-endian length and that many bytes of JSON, which msgspec decodes into the
classes below and nothing else; ``bytes`` travel as base64. The client's first frame is
`Hello`, the server's first is `Welcome`; where the job has a token, `Challenge` and
`Proof` come in between. `TLS_MAGIC` opens a connection that is to be encrypted: the
server repeats it, and all else, the frames inside, is TLS. `Denied` is the last that a
peer hears who is not let in; one that asked for TLS in vain, or should have, gets it
unencrypted.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Annotated, TypeVar

import attrs
import msgspec

from elaunch.api import Entry, StoreEvent
from elaunch_rdzv_c10d.wire import MAX_KEY, MAX_VALUE


MAGIC = b"ELAUNCH1\n"
"""First bytes of a control client; a TCPStore client begins with another byte."""

TLS_MAGIC = b"ELAUTLS1\n"
"""The same of one that wants TLS; of the same length."""

MAX_FRAME = 16 * 1024 * 1024
"""Most bytes of JSON in a frame."""

MAX_OPENING_FRAME = 16 * 1024
"""The same before a peer has shown who it is."""

MAX_IN_FLIGHT = 256
"""Most unanswered requests of a client, and answers that the server remembers."""

_LENGTH = struct.Struct("<I")

# Whatever was written can be told to watchers in one frame, in base64 and escaped.
Key = Annotated[str, msgspec.Meta(max_length=MAX_KEY)]
Value = Annotated[bytes, msgspec.Meta(max_length=MAX_VALUE)]
Nonce = Annotated[bytes, msgspec.Meta(max_length=64)]


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Opens a session, or goes on with one after the connection broke.

    Attributes:
        run_id: Id of the client's job.
        grace: Seconds the session outlives a connection that breaks.
        session: Id of the session to go on with; with a token it is in `Proof`.
        nonce: Random bytes of a client that has a token.
    """

    run_id: str
    grace: Annotated[float, msgspec.Meta(ge=0)]
    session: str | None = None
    nonce: Nonce = b""


class Proof(msgspec.Struct, frozen=True, tag="proof"):
    """Answers `Challenge`.

    Attributes:
        mac: Shows that the client has the token.
        session: Id of the session to go on with.
    """

    mac: bytes
    session: str | None = None


class Get(msgspec.Struct, frozen=True, tag="get"):
    """Asks for an entry; `Found` answers."""

    key: str


class Put(msgspec.Struct, frozen=True, tag="put"):
    """Writes a key; `Written` answers."""

    key: Key
    value: Value
    lease: int | None = None


class CompareAndSet(msgspec.Struct, frozen=True, tag="compare_and_set"):
    """Writes a key at an expected revision; `Written` answers."""

    key: Key
    value: Value
    expected: int
    lease: int | None = None


class Delete(msgspec.Struct, frozen=True, tag="delete"):
    """Deletes a key; `Deleted` answers."""

    key: str
    expected: int | None = None


class List(msgspec.Struct, frozen=True, tag="list"):
    """Asks for all entries under a prefix; `Listed` answers."""

    prefix: str


class Grant(msgspec.Struct, frozen=True, tag="grant"):
    """Asks for a lease of ``ttl`` seconds; `Granted` answers."""

    ttl: Annotated[float, msgspec.Meta(gt=0)]


class Renew(msgspec.Struct, frozen=True, tag="renew"):
    """Keeps a lease alive; `Done` answers, or `Refused`."""

    lease: int


class Revoke(msgspec.Struct, frozen=True, tag="revoke"):
    """Ends a lease; `Done` answers."""

    lease: int


class Goodbye(msgspec.Struct, frozen=True, tag="goodbye"):
    """Ends the session with all its leases and watches; `Done` answers."""


Operation = Get | Put | CompareAndSet | Delete | List | Grant | Renew | Revoke | Goodbye

WRITES = (Put, CompareAndSet, Delete, Grant, Revoke)
"""Operations that must not be applied twice."""


class Request(msgspec.Struct, frozen=True, tag="request"):
    """One operation; the `Answer` bears the same id, which a repetition keeps."""

    id: int
    operation: Operation


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """Subscribes to a prefix: `Changed` comes at once for the past, then `Watching`.

    `Compacted` comes instead if the past is forgotten. The id is the client's.
    """

    id: int
    prefix: str
    since: int


class Unwatch(msgspec.Struct, frozen=True, tag="unwatch"):
    """Ends a subscription."""

    id: int


class Challenge(msgspec.Struct, frozen=True, tag="challenge"):
    """Answers `Hello` where the job has a token.

    Attributes:
        nonce: Random bytes of the server.
        store: Id of the store.
    """

    nonce: Nonce
    store: str


class Denied(msgspec.Struct, frozen=True, tag="denied"):
    """The peer is not let in, and why."""

    reason: Annotated[str, msgspec.Meta(max_length=1_000)]


class Welcome(msgspec.Struct, frozen=True, tag="welcome"):
    """Answers `Hello`, or `Proof`.

    Attributes:
        session: Id of the session: a secret between the two.
        resumed: Whether it is the one that was asked for.
        store: Id of the store; another one knows nothing of the revisions of this.
        run_id: Id of the job that hosts the store.
        mac: Shows that the server has the token.
    """

    session: str
    resumed: bool
    store: str
    run_id: str
    mac: bytes = b""


class Found(msgspec.Struct, frozen=True, tag="found"):
    """The entry, if there is one."""

    entry: Entry | None


class Written(msgspec.Struct, frozen=True, tag="written"):
    """The new revision, or `None` if the key was not at the expected one."""

    revision: int | None


class Deleted(msgspec.Struct, frozen=True, tag="deleted"):
    """Whether this request deleted the key."""

    deleted: bool


class Listed(msgspec.Struct, frozen=True, tag="listed"):
    """The entries under the prefix, and the revision they are from."""

    entries: tuple[Entry, ...]
    revision: int


class Granted(msgspec.Struct, frozen=True, tag="granted"):
    """Number of the new lease."""

    lease: int


class Done(msgspec.Struct, frozen=True, tag="done"):
    """It is done."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It was not done, and why."""

    reason: str


Result = Found | Written | Deleted | Listed | Granted | Done | Refused


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """Answers a request.

    Attributes:
        id: Id of the request.
        result: What came of it.
        revision: Revision of the store now. Every change up to it, under any prefix
            that this session watches, has been sent before.
    """

    id: int
    result: Result
    revision: int


class Changed(msgspec.Struct, frozen=True, tag="changed"):
    """One change under a watched prefix."""

    watch: int
    event: StoreEvent


class Watching(msgspec.Struct, frozen=True, tag="watching"):
    """Everything up to ``revision`` has been sent for this watch."""

    watch: int
    revision: int


class Compacted(msgspec.Struct, frozen=True, tag="compacted"):
    """The watch can't begin where it asked to."""

    watch: int


ClientMessage = Hello | Proof | Request | Watch | Unwatch
ServerMessage = Challenge | Denied | Welcome | Answer | Changed | Watching | Compacted

_Message = TypeVar("_Message")

_encode = msgspec.json.Encoder().encode
_client_messages = msgspec.json.Decoder(ClientMessage)
_server_messages = msgspec.json.Decoder(ServerMessage)


class BrokenFrameError(Exception):
    """The peer sent what is no frame of this protocol."""


def decode_client_message(body: bytes) -> ClientMessage:
    """Return what a client says in a frame.

    Raises:
        BrokenFrameError: If that is no message.
    """
    message: ClientMessage = _decode(_client_messages, body)
    return message


def decode_server_message(body: bytes) -> ServerMessage:
    """Return what a server says in a frame.

    Raises:
        BrokenFrameError: If that is no message.
    """
    message: ServerMessage = _decode(_server_messages, body)
    return message


def _decode(decoder: msgspec.json.Decoder[_Message], body: bytes) -> _Message:
    try:
        return decoder.decode(body)
    # The last two: of text that is no UTF-8, and of what is nested too deep.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # It quotes the peer, and goes to a log or a terminal.
        quoted = str(error).encode("unicode_escape").decode()
        raise BrokenFrameError(quoted) from error


def frame(message: ClientMessage | ServerMessage) -> bytes:
    """Return a message as a frame, whatever its length: see `fits`."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


TOO_LONG = Refused("the answer is longer than a frame; ask for less")
"""What came of an operation whose `Answer` the other side would not accept."""


def fits(framed: bytes) -> bool:
    """Return whether the other side would accept this frame."""
    return len(framed) <= MAX_FRAME + _LENGTH.size


def may_fit(entries: Iterable[Entry]) -> bool:
    """Return whether it is worth the time to make a frame of these entries."""
    return sum(len(e.key) + len(e.value) for e in entries) <= MAX_FRAME


@attrs.define(eq=False, repr=False)
class FrameReader:
    """The receiving half of one connection.

    Attributes:
        limit: Most bytes of JSON in the next frame.
    """

    limit: int = MAX_OPENING_FRAME
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)

    @property
    def held(self) -> int:
        """Bytes of the frame that has begun."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what arrived and yield the body of each frame that is whole.

        Raises:
            BrokenFrameError: If a length is over the limit. The reader is spent.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, at)
            if length > self.limit:
                raise BrokenFrameError(
                    f"a frame of {length} bytes; the limit is {self.limit}"
                )
            end = at + _LENGTH.size + length
            if end > len(buffer):
                break
            body = bytes(memoryview(buffer)[at + _LENGTH.size : end])
            at = end
            yield body
        del buffer[:at]
