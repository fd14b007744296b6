"""What comes of the bytes that a worker sends, whatever they are."""

import json
import random
from typing import Any

import attrs
import pytest

from elaunch.api import MessageKind, WorkerMessage
from elaunch.channel.decoding import (
    MAX_DATAGRAM,
    MAX_LINES,
    MAX_VALUES,
    NAME_LIMIT,
    REASON_LIMIT,
    TEXT_LIMIT,
    Malformed,
    decoded,
)


def read(*lines: dict[str, Any]) -> list[WorkerMessage]:
    data = "\n".join(map(json.dumps, lines)).encode()
    return list(decoded(data, 3, 7.5))


def message(**fields: Any) -> WorkerMessage:
    return WorkerMessage(local_rank=3, time=7.5, **fields)


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ({"kind": "heartbeat"}, {}),
        (
            {"kind": "heartbeat", "step": 4, "step_time": 0.5, "values": {"a": 1}},
            {"step": 4, "step_time": 0.5, "values": {"a": 1}},
        ),
        ({"kind": "heartbeat", "step": None, "step_time": None, "values": None}, {}),
        (
            {"kind": "section", "name": "data", "token": 9, "pid": 12, "limit": 30},
            {"name": "data", "token": 9, "pid": 12, "limit": 30.0},
        ),
        ({"kind": "section", "name": "data"}, {"name": "data"}),
        (
            {"kind": "section_end", "name": "data", "token": 9, "pid": 12},
            {"name": "data", "token": 9, "pid": 12},
        ),
        ({"kind": "progress", "marker": 1200}, {"marker": 1200.0}),
        ({"kind": "no_restart", "reason": "bad data"}, {"reason": "bad data"}),
        ({"kind": "exclude_node"}, {}),
        ({"kind": "hold_scaling", "limit": 600}, {"limit": 600.0}),
        ({"kind": "release_scaling"}, {}),
    ],
)
def test_each_kind_is_read(line: dict[str, Any], fields: dict[str, Any]) -> None:
    assert read(line) == [message(kind=MessageKind(line["kind"]), **fields)]


def test_every_kind_can_be_read() -> None:
    told = {"name": "x", "marker": 1, "reason": "y", "limit": 2}

    assert [read({"kind": kind.value, **told})[0].kind for kind in MessageKind] == [
        *MessageKind
    ]


def test_several_messages_come_in_one_datagram() -> None:
    lines = [{"kind": "heartbeat", "step": n} for n in range(MAX_LINES)]

    assert [m.step for m in read(*lines)] == [*range(MAX_LINES)]


def test_empty_lines_are_nothing() -> None:
    assert list(decoded(b'\n\n{"kind": "heartbeat"}\n\n', 3, 7.5)) == [
        message(kind=MessageKind.HEARTBEAT)
    ]


def test_what_a_later_version_says_is_no_fault() -> None:
    assert read({"kind": "farewell"}, {"kind": "heartbeat", "mood": "good"}) == [
        message(kind=MessageKind.HEARTBEAT)
    ]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"hello", "no JSON: b'hello'"),
        (b'{"kind": "heart', "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 5000, "no JSON"),
        (b"[1]", "no object"),
        (b"7", "no object"),
        (b'{"kind": 7}', "'kind' is no text: 7"),
        (b'{"kind": "heartbeat", "step": 1.5}', "'step' is no number of 64 bits: 1.5"),
        (b'{"kind": "heartbeat", "step": true}', "'step' is no number of 64 bits"),
        (b'{"kind": "heartbeat", "step": %d}' % 2**63, "'step' is no number of 64"),
        (b'{"kind": "heartbeat", "step_time": -1}', "'step_time' is no such number"),
        (b'{"kind": "heartbeat", "step_time": NaN}', "'step_time' is no such number"),
        (b'{"kind": "heartbeat", "values": [1]}', "'values' is no object"),
        (b'{"kind": "section", "limit": Infinity}', "'limit' is no such number: inf"),
        (b'{"kind": "section", "name": null}', "'name' is no text: None"),
        (b'{"kind": "progress"}', "'marker' is no such number: None"),
        (b'{"kind": "progress", "marker": 1e300}', "'marker' is too large a number"),
        (b'{"kind": "progress", "marker": "9"}', "'marker' is no such number: '9'"),
        (b"\n" * (MAX_LINES + 1), f"{MAX_LINES + 1} lines"),
        (b" " * (MAX_DATAGRAM + 1), f"more than {MAX_DATAGRAM} bytes"),
    ],
)
def test_what_is_no_message_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=r"\A[ -~]*\Z") as caught:
        list(decoded(data, 3, 7.5))

    assert str(caught.value).startswith(why)
    assert len(str(caught.value)) < 400


def test_what_comes_before_a_fault_counts() -> None:
    messages = decoded(b'{"kind": "heartbeat", "step": 1}\nrubbish', 3, 7.5)

    assert next(messages).step == 1
    with pytest.raises(Malformed):
        next(messages)


def test_what_is_too_much_is_cut() -> None:
    values = {f"{n:03}": "x" * 300 for n in range(9)}
    many = dict.fromkeys(map(str, range(MAX_VALUES + 5)), 0)
    section, reason, long, wide = read(
        {"kind": "section", "name": "n" * 999},
        {"kind": "no_restart", "reason": "r" * 1999},
        {"kind": "heartbeat", "values": values},
        {"kind": "heartbeat", "values": many},
    )

    assert section.name == "n" * NAME_LIMIT
    assert reason.reason == "r" * REASON_LIMIT
    assert {*long.values.values()} == {"x" * TEXT_LIMIT}
    assert len(wide.values) == MAX_VALUES


def test_texts_do_nothing_to_a_terminal_or_to_an_encoder() -> None:
    (told,) = read({"kind": "no_restart", "reason": "a\x1b[31mb\n\udc80c"})

    assert told.reason == "ab\\n\\udc80c"


def test_values_are_what_json_and_people_can_read() -> None:
    (told,) = decoded(
        b'{"kind": "heartbeat", "values": {"a": NaN, "b": [1], "c": null, "d": true, '
        b'"e": 1e400, "f": %d}}' % 2**70,
        3,
        7.5,
    )

    assert told.values == {
        "a": "nan",
        "b": "[1]",
        "c": None,
        "d": True,
        "e": "inf",
        "f": str(2**70),
    }


@pytest.mark.parametrize("seed", range(20))
def test_no_bytes_raise_anything_else(seed: int) -> None:
    """Good datagrams with some bytes changed, and plain noise."""
    draw = random.Random(seed)  # noqa: S311 - the same bytes each time
    good = json.dumps(
        {
            "kind": "section",
            "name": "näme",
            "token": 1,
            "pid": 2,
            "limit": 3.5,
            "values": {"loss": 0.1},
            "marker": -1e9,
            "reason": "why",
        }
    ).encode()
    kinds = [kind.value.encode() for kind in MessageKind]
    seen = 0
    for _ in range(300):
        data = bytearray(good.replace(b"section", draw.choice(kinds)))
        for _ in range(draw.randrange(4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        try:
            found = list(decoded(bytes(data), 3, 7.5))
        except Malformed:
            continue
        seen += len(found)
        for each in found:
            json.dumps(attrs.asdict(each), allow_nan=False).encode()

    assert seen
