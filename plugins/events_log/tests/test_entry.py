"""Lines of files that anybody may have written."""

import json
from typing import Any

import pytest

from elaunch.api import Event
from elaunch_events_log.command import SCHEMA
from elaunch_events_log.formats import as_json
from elaunch_events_log.reading.entry import parse


GOOD: dict[str, Any] = {
    "name": "worker.failed",
    "timestamp": 1_700_000_000.5,
    "run_id": "job",
    "metadata": {"rank": 3, "x": 1.5, "ranks": [1, "2", True, None]},
}


def line(**changes: Any) -> str:
    return json.dumps(GOOD | changes)


def test_what_an_old_file_lacks_has_a_default() -> None:
    entry = parse(line())

    assert entry
    assert (entry.agent, entry.host, entry.sequence, entry.generation) == ("", "", 0, 0)
    assert entry.whole("rank") == 3
    assert entry.number("x") == 1.5
    assert entry.numbers("ranks") == [1]
    assert entry.texts("ranks") == ["2"]
    assert entry.text("rank") == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        line(name=4),
        line(name=None),
        line(timestamp="now"),
        line(timestamp=1e300),
        line(timestamp=-5),
        line(timestamp=float("nan")),
        line(metadata=[]),
        json.dumps({k: v for k, v in GOOD.items() if k != "run_id"}),
        '{"name": "torchelastic.worker.status.START", "timestamp": 1, "metadata": {}}',
    ],
)
def test_what_is_no_event_is_none(text: str) -> None:
    assert parse(text) is None


def test_what_is_only_for_torchelastic_is_left_out_as_in_the_event_itself() -> None:
    theirs = json.loads(SCHEMA.read_text())["$defs"]["torchelastic"]["required"]
    facts = dict.fromkeys(theirs, "x") | {"rank": 1, "exitcode": 0}
    for duration in (12.5, None):
        event = Event(
            name="a.b", run_id="j", metadata=facts | {"duration_ms": duration}
        )
        (told,) = as_json(event)
        entry = parse(told)

        assert entry
        assert entry.facts == event.facts
        assert entry.text("group_rank") == "x"  # which is a fact of ours, too


@pytest.mark.parametrize("value", [-1, True, "7", 1.5, [], None])
def test_numbers_that_are_none_count_as_nothing(value: object) -> None:
    entry = parse(line(sequence=value, generation=value))

    assert entry
    assert (entry.sequence, entry.generation) == (0, 0)


@pytest.mark.parametrize("value", [True, "7", [], None, 10**400, float("inf")])
def test_facts_that_are_no_numbers_are_none(value: object) -> None:
    entry = parse(line(metadata={"rank": value}))

    assert entry
    assert entry.number("rank") is None
    assert entry.whole("rank") is None
