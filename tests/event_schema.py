"""The published schema of events, to check what tests record."""

import json
import re
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


_well: set[str] = set()
"""Events that are as the schema says, each digit a zero."""


def errors_of(text: str) -> list[str]:
    """Return what is wrong with an event; of those alike but for digits one is checked.

    The schema has a rule for each name, and trying them all takes a while.
    """
    shape = re.sub(r"\d+", "0", text)
    if shape in _well:
        return []
    errors = [error.message for error in validator().iter_errors(json.loads(text))]
    if not errors:
        _well.add(shape)
    return errors


def check_events(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Check each event of some files, of one agent each; return them all."""
    found = []
    for file in files:
        lines = file.read_text().splitlines()
        for line in lines:
            assert errors_of(line) == [], line
        events = [json.loads(line) for line in lines]
        assert [event["sequence"] for event in events] == list(range(len(events)))
        found += events
    return found
