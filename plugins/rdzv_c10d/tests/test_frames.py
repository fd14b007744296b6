"""Any frames, cut anywhere, and any bytes at all."""

from hypothesis import given, settings
from hypothesis import strategies as st

from elaunch_rdzv_c10d.budget import ITEM
from elaunch_rdzv_c10d.parser import Frame, Parser, ProtocolError
from elaunch_rdzv_c10d.wire import I64, U32, U64, Op, blobs


KEYS = st.binary(max_size=40)
VALUES = st.one_of(st.binary(max_size=40), st.binary(min_size=250, max_size=600))
I64S = st.integers(-(1 << 63), (1 << 63) - 1)
U32S = st.integers(0, (1 << 32) - 1)

ONE_KEY = (Op.GET, Op.DELETE_KEY, Op.QUEUE_POP, Op.QUEUE_LEN)
KEY_AND_VALUE = (Op.SET, Op.APPEND, Op.QUEUE_PUSH)
KEY_AND_NUMBER = (Op.ADD, Op.BARRIER)
LISTS = (Op.CHECK, Op.WAIT, Op.MULTI_GET)
BARE = (Op.GETNUMKEYS, Op.CANCEL_WAIT, Op.LIST_KEYS)
NUMBERS = (Op.VALIDATE, Op.PING)

FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.tuples(st.sampled_from(ONE_KEY), st.tuples(KEYS).map(list), st.just(0)),
    st.tuples(
        st.sampled_from(KEY_AND_VALUE), st.tuples(KEYS, VALUES).map(list), st.just(0)
    ),
    st.tuples(
        st.just(Op.COMPARE_SET), st.tuples(KEYS, VALUES, VALUES).map(list), st.just(0)
    ),
    st.tuples(st.sampled_from(KEY_AND_NUMBER), st.tuples(KEYS).map(list), I64S),
    st.tuples(st.sampled_from(LISTS), st.lists(KEYS, max_size=5), st.just(0)),
    st.tuples(
        st.just(Op.MULTI_SET),
        st.lists(st.tuples(KEYS, VALUES), max_size=5).map(
            lambda pairs: [part for pair in pairs for part in pair]
        ),
        st.just(0),
    ),
    st.tuples(st.sampled_from(BARE), st.just([]), st.just(0)),
    st.tuples(st.sampled_from(NUMBERS), st.just([]), U32S),
)


def encoded(frame: Frame) -> bytes:
    opcode, items, number = frame
    head = bytes([opcode])
    if opcode in LISTS:
        head += U64.pack(len(items))
    if opcode == Op.MULTI_SET:
        head += U64.pack(len(items) // 2)
    tail = b""
    if opcode in KEY_AND_NUMBER:
        tail = I64.pack(number)
    if opcode in NUMBERS:
        tail = U32.pack(number)
    return head + blobs(items) + tail


def read(pieces: list[bytes]) -> tuple[list[Frame], Parser, bool]:
    """Return the frames, the parser, and whether it took everything for frames."""
    parser = Parser()
    found: list[Frame] = []
    for piece in pieces:
        only = parser.only(piece)
        if only is not None:
            found.append(only)
            continue
        parser.feed(piece)
        try:
            found += iter(parser.next, None)
        except ProtocolError:
            return found, parser, False
    return found, parser, True


@st.composite
def pieces_of(draw: st.DrawFn, data: bytes) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=20)))
    return [
        data[start:end]
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)
        if start < end
    ]


@given(st.data(), st.lists(FRAMES, max_size=8))
def test_frames_come_out_as_they_went_in_wherever_they_are_cut(
    data: st.DataObject, frames: list[Frame]
) -> None:
    stream = b"".join(map(encoded, frames))

    found, parser, _ = read(data.draw(pieces_of(stream)))

    assert found == frames
    assert parser.held == 0


@given(st.data(), st.lists(FRAMES, max_size=8), st.binary(max_size=60))
def test_what_is_held_is_what_is_unfinished(
    data: st.DataObject, frames: list[Frame], rest: bytes
) -> None:
    stream = b"".join(map(encoded, frames))
    unfinished = b"\x0b" + U64.pack(9) + rest  # pairs that never end

    found, parser, good = read(data.draw(pieces_of(stream + unfinished)))

    assert found == frames
    assert parser.held <= (1 + ITEM) * len(unfinished) or not good


@settings(max_examples=500)
@given(st.data(), st.binary(max_size=200))
def test_any_bytes_are_read_alike_however_they_are_cut(
    data: st.DataObject, stream: bytes
) -> None:
    whole, _, whole_is_good = read([stream])
    found, parser, good = read(data.draw(pieces_of(stream)))

    assert (found, good) == (whole, whole_is_good)
    assert parser.held <= (1 + ITEM) * len(stream)
