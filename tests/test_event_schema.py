"""The published schema says what events are, and the documentation says the same.

What agents of other tests record is checked by the fixture that starts them.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from agents import Launch, Script
from event_schema import SCHEMA, check_events, errors_of, validator

from elaunch.agent.recording import Recording
from elaunch.agent.twins import Twins
from elaunch.events import TORCHELASTIC_KEYS, Event, EventName, Value
from elaunch.testing.simulation import FAMILIES, SimulatedNode, generate, run
from elaunch_events_log.formats import document


EVENTS = Path(__file__).parent.parent / "docs" / "events.md"
EVENT: dict[str, Any] = {
    "schema": 1,
    "name": "notice.announced",
    "source": "AGENT",
    "timestamp": 1.5,
    "run_id": "job",
    "host": "h",
    "agent": "a",
    "sequence": 0,
    "generation": 1,
    "metadata": {"kind": "preemption", "reason": "x"},
}


def rules() -> dict[str, dict[str, Any]]:
    return {
        rule["if"]["properties"]["name"]["const"]: rule["then"]["properties"]
        for rule in json.loads(SCHEMA.read_text())["allOf"]
    }


def test_every_event_has_a_rule() -> None:
    assert {name.value for name in EventName} <= rules().keys()


def test_the_documentation_tells_the_same_facts() -> None:
    rows = re.findall(
        r"^\| `([\w.]+)` \| [^|]+ \|(.*)\|$", EVENTS.read_text(), re.MULTILINE
    )
    table = {name: cell for name, cell in rows if "." in name}
    facts = {
        name: rule["metadata"].get("properties", {}) for name, rule in rules().items()
    }
    told = {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in table.items()}
    for name in EventName:
        known = facts[name]
        if "as `worker" in table[name] or "as above" in table[name]:
            told[name] |= told["worker.succeeded"] | {"failed_at"} & known.keys()
        missing = known.keys() - told[name]

        assert missing == set(), name


def test_torchelastics_keys_are_all_there() -> None:
    twin = json.loads(SCHEMA.read_text())["$defs"]["torchelastic"]

    assert tuple(twin["properties"]) == tuple(twin["required"]) == TORCHELASTIC_KEYS


@pytest.mark.parametrize(
    "change",
    [
        {"name": "nodot"},
        {"source": "NODE"},
        {"source": "WORKER"},
        {"sequence": -1},
        {"schema": 2},
        {"extra": 1},
        {"metadata": {"kind": "preemption"}},
        {"metadata": {"kind": "preemption", "reason": 4}},
        {"metadata": {"kind": "preemption", "reason": "x", "more": 1}},
    ],
    ids=str,
)
def test_what_is_wrong_is_found(change: dict[str, Any]) -> None:
    assert validator().is_valid(EVENT)
    assert not validator().is_valid(EVENT | change)


def test_what_is_missing_is_found() -> None:
    for key in EVENT:
        rest = {k: v for k, v in EVENT.items() if k != key}
        assert not validator().is_valid(rest)


def test_a_plugin_may_record_events_of_its_own() -> None:
    own = EVENT | {"name": "my.own", "metadata": {"n": 1, "list": ["x", 2]}}

    assert validator().is_valid(own)
    assert not validator().is_valid(own | {"metadata": {"nested": {"x": 1}}})


def test_a_run_with_a_failure_and_a_signal_is_as_the_schema_says(
    tmp_path: Path, launch: Launch, script: Script
) -> None:
    worker = script(
        "import os, time\nif os.environ['RANK'] == '0': 1 / 0\ntime.sleep(60)"
    )
    agent = launch("--standalone", "--nproc-per-node", "2", worker)
    assert agent.wait() == 1
    names = {e["name"] for e in check_events(tmp_path.glob("events-of-*/*"))}

    assert {
        "worker.failed",
        "worker.terminated",
        "group.stopping",
        "job.failed",
    } < names


class Checked:
    """Checks each event."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.wrong: list[tuple[Event, str]] = []

    def record(self, event: Event) -> None:
        self.names.add(event.name)
        self.wrong += ((event, e) for e in errors_of(json.dumps(document(event))))

    def close(self) -> None:
        """Nothing is held."""


def test_what_happens_in_simulated_jobs_is_as_the_schema_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked = Checked()
    recordings: dict[tuple[int, int], Recording] = {}
    happened = SimulatedNode._record

    def record(self: SimulatedNode, name: EventName, /, **facts: Value) -> None:
        key = (id(self), self._starts)
        if key not in recordings:
            twins = Twins(
                run_id="job", host=self.name, role="r", backend="x", entry_point="true"
            )
            recordings[key] = Recording("job", [checked], str(key), twins)
        recordings[key](name, **facts)
        happened(self, name, **facts)

    monkeypatch.setattr(SimulatedNode, "_record", record)
    for family in FAMILIES:
        for seed in range(3):
            assert not run(generate(family, seed)).broken
            recordings.clear()  # ids of nodes may come again

    assert {
        "rendezvous.waiting",
        "rendezvous.lost",
        "generation.superseded",
        "notice.delivered",
        "worker.failed",
    } < checked.names
    assert checked.wrong == []


def test_the_schema_can_be_asked_for() -> None:
    command = [sys.executable, "-m", "elaunch", "events", "--schema"]
    told = subprocess.run(command, capture_output=True, text=True, check=True)

    assert told.stdout == SCHEMA.read_text()
