"""The published schema of events, to check what tests record."""

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

import elaunch_events_log


SCHEMA = Path(elaunch_events_log.__file__).with_name("event.schema.json")


@cache
def validator() -> Draft202012Validator:
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def check_events(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Check each event of some files, of one agent each; return them all."""
    found = []
    for file in files:
        events = [json.loads(line) for line in file.read_text().splitlines()]
        for event in events:
            errors = [error.message for error in validator().iter_errors(event)]
            assert errors == [], event
        assert [event["sequence"] for event in events] == list(range(len(events)))
        found += events
    return found
