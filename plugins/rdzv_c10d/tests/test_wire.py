import pytest

from elaunch_rdzv_c10d.parser import Frame, Parser, ProtocolError
from elaunch_rdzv_c10d.wire import (
    I64,
    MAX_KEY,
    MAX_KEYS,
    MAX_VALUE,
    U64,
    Op,
    blob,
    blobs,
    counted,
    hello,
)


def frames(parser: Parser) -> list[Frame]:
    return list(iter(parser.next, None))


def request(text: str) -> bytes:
    return bytes.fromhex(text)


GOLDEN = [
    ("00 CEF7853C", (Op.VALIDATE, [], 0x3C85F7CE)),
    ("0D 01020304", (Op.PING, [], 0x04030201)),
    (
        "01 0200000000000000 2F61 0100000000000000 31",
        (Op.SET, [b"/a", b"1"], 0),
    ),
    ("03 0200000000000000 2F61", (Op.GET, [b"/a"], 0)),
    ("04 0200000000000000 2F61 0200000000000000", (Op.ADD, [b"/a"], 2)),
    ("04 0200000000000000 2F61 FFFFFFFFFFFFFFFF", (Op.ADD, [b"/a"], -1)),
    ("06 0100000000000000 0200000000000000 2F61", (Op.WAIT, [b"/a"], 0)),
    ("0C", (Op.CANCEL_WAIT, [], 0)),
    ("07", (Op.GETNUMKEYS, [], 0)),
    (
        "0E 0200000000000000 2F71 0100000000000000 31",
        (Op.QUEUE_PUSH, [b"/q", b"1"], 0),
    ),
    ("0F 0200000000000000 2F71", (Op.QUEUE_POP, [b"/q"], 0)),
    ("10 0200000000000000 2F71", (Op.QUEUE_LEN, [b"/q"], 0)),
    ("11", (Op.LIST_KEYS, [], 0)),
    ("12 0200000000000000 2F62 0200000000000000", (Op.BARRIER, [b"/b"], 2)),
]

ALL = b"".join(
    [
        *(request(text) for text, _ in GOLDEN),
        bytes([Op.COMPARE_SET]) + blobs([b"k", b"", b"new"]),
        bytes([Op.CHECK]) + counted([]),
        bytes([Op.CHECK]) + counted([b"a", b"bb"]),
        bytes([Op.DELETE_KEY]) + blob(b""),
        bytes([Op.APPEND]) + blobs([b"k", b"x" * 300]),
        bytes([Op.MULTI_GET]) + counted([b"a", b"", b"c"]),
        bytes([Op.MULTI_SET]) + U64.pack(2) + blobs([b"a", b"1", b"b", b""]),
        bytes([Op.MULTI_SET]) + U64.pack(0),
        bytes([Op.PING]) + bytes(4),
    ]
)
EXPECTED: list[Frame] = [
    *(frame for _, frame in GOLDEN),
    (Op.COMPARE_SET, [b"k", b"", b"new"], 0),
    (Op.CHECK, [], 0),
    (Op.CHECK, [b"a", b"bb"], 0),
    (Op.DELETE_KEY, [b""], 0),
    (Op.APPEND, [b"k", b"x" * 300], 0),
    (Op.MULTI_GET, [b"a", b"", b"c"], 0),
    (Op.MULTI_SET, [b"a", b"1", b"b", b""], 0),
    (Op.MULTI_SET, [], 0),
    (Op.PING, [], 0),
]


class TestEncodings:
    def test_the_handshake_is_one_write(self) -> None:
        assert hello(0x04030201) == request("00 CEF7853C 0D 01020304")

    def test_a_list_is_a_count_and_blobs(self) -> None:
        assert counted([b"/a", b""]) == request(
            "0200000000000000 0200000000000000 2F61 0000000000000000"
        )

    def test_a_reply_to_add(self) -> None:
        assert I64.pack(3) == request("0300000000000000")


class TestParser:
    @pytest.mark.parametrize(("text", "frame"), GOLDEN)
    def test_reads_the_golden_bytes(self, text: str, frame: Frame) -> None:
        parser = Parser()
        parser.feed(request(text))

        assert frames(parser) == [frame]

    def test_reads_many_frames_at_once(self) -> None:
        parser = Parser()
        parser.feed(ALL)

        assert frames(parser) == EXPECTED

    def test_reads_frames_cut_at_any_one_byte(self) -> None:
        for cut in range(len(ALL) + 1):
            parser = Parser()
            parser.feed(ALL[:cut])
            found = frames(parser)
            parser.feed(ALL[cut:])

            assert found + frames(parser) == EXPECTED

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 100])
    def test_reads_frames_in_pieces(self, size: int) -> None:
        parser = Parser()
        found = []
        for start in range(0, len(ALL), size):
            parser.feed(ALL[start : start + size])
            found += frames(parser)

        assert found == EXPECTED

    def test_does_not_take_a_value_for_a_request(self) -> None:
        value = bytes([Op.GET]) + blob(b"/a")
        parser = Parser()
        parser.feed(bytes([Op.SET]) + blob(b"/k") + U64.pack(len(value)))

        assert frames(parser) == []
        assert parser.only(value) is None
        parser.feed(value)
        assert frames(parser) == [(Op.SET, [b"/k", value], 0)]

    def test_hands_out_nothing_before_its_last_byte(self) -> None:
        whole = bytes([Op.MULTI_SET]) + U64.pack(1) + blobs([b"a", b"1"])
        parser = Parser()
        parser.feed(whole[:-1])

        assert frames(parser) == []
        parser.feed(whole[-1:])
        assert frames(parser) == [(Op.MULTI_SET, [b"a", b"1"], 0)]

    def test_can_be_fed_before_all_frames_are_taken(self) -> None:
        parser = Parser()
        parser.feed(ALL[:100])
        first = parser.next()
        parser.feed(ALL[100:])

        assert [first, *frames(parser)] == EXPECTED

    def test_joins_a_large_value_once(self) -> None:
        value = bytes(MAX_VALUE)
        whole = bytes([Op.SET]) + blobs([b"k" * MAX_KEY, value])
        parser = Parser()
        found = []
        for start in range(0, len(whole), 65_536):
            parser.feed(whole[start : start + 65_536])
            found += frames(parser)

        assert found == [(Op.SET, [b"k" * MAX_KEY, value], 0)]

    def test_takes_as_many_keys_as_it_may(self) -> None:
        keys = [b"k"] * MAX_KEYS
        whole = bytes([Op.WAIT]) + counted(keys)
        parser = Parser()
        found = []
        for start in range(0, len(whole), 5_000):
            parser.feed(whole[start : start + 5_000])
            found += frames(parser)

        assert found == [(Op.WAIT, keys, 0)]

    @pytest.mark.parametrize(
        "head",
        [
            bytes([Op.SET]) + U64.pack(MAX_KEY + 1),
            bytes([Op.SET]) + blob(b"k") + U64.pack(MAX_VALUE + 1),
            bytes([Op.COMPARE_SET]) + blobs([b"k", b""]) + U64.pack(MAX_VALUE + 1),
            bytes([Op.ADD]) + U64.pack((1 << 64) - 1),
            bytes([Op.WAIT]) + U64.pack(MAX_KEYS + 1),
            bytes([Op.CHECK]) + U64.pack((1 << 64) - 1),
            bytes([Op.CHECK]) + U64.pack(2) + blob(b"k") + U64.pack(MAX_KEY + 1),
            bytes([Op.MULTI_SET]) + U64.pack(MAX_KEYS + 1),
            bytes([Op.MULTI_SET]) + U64.pack(1) + blob(b"k") + U64.pack(MAX_VALUE + 1),
            bytes([Op.MULTI_SET]) + U64.pack(1) + U64.pack(MAX_KEY + 1),
            bytes([19]),
            b"\xff",
        ],
    )
    def test_refuses_what_is_too_long_at_its_head(self, head: bytes) -> None:
        parser = Parser()
        parser.feed(head)

        with pytest.raises(ProtocolError):
            parser.next()

    def test_gives_the_frames_before_the_bad_one(self) -> None:
        parser = Parser()
        parser.feed(request("07") + b"\xff")

        assert parser.next() == (Op.GETNUMKEYS, [], 0)
        with pytest.raises(ProtocolError, match="unknown opcode 255"):
            parser.next()
