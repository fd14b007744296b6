"""What a policy decided is recorded with all that it knew, and can be read again."""

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elaunch.decisions import Asked, Decided, decided, read
from elaunch.encodable import encodable
from elaunch.events import Event, EventName, Value
from elaunch.failures import ProcessFailure, Request
from elaunch.policy import (
    MAX_FAILURES,
    Decision,
    FailureReport,
    PastFailure,
    Verdict,
)
from elaunch.vitals import ToldFinding


FAILURE = ProcessFailure(
    rank=1,
    local_rank=1,
    role="r",
    host="b",
    pid=7,
    exitcode=-9,
    timestamp=5.0,
    message="killed by SIGKILL",
    uptime=3.5,
    exception="",
    monitor="heartbeat",
    request=Request.EXCLUDE_NODE,
)
FINDING = ToldFinding(
    host="b", rank=1, monitor="m", severity="info", reason="r", timestamp=4.0
)
REPORT = FailureReport(
    generation=3,
    restarts=2,
    failures=(FAILURE,),
    time=6.0,
    progress=100.0,
    findings=(FINDING,),
    group_size=3,
    min_nodes=2,
    spares=1,
)
DECISION = Decision(
    Verdict.EXCLUDE, "since it asked", delay=2.0, exclude=("b",), cool_down=60.0
)
ASKED = Asked(policy="default:backoff=1", max_restarts=5, on_failure=("exit:3=fail",))


class Told:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.facts: dict[str, Value] = {}

    def __call__(self, name: EventName, /, **facts: Value) -> None:
        assert name is EventName.POLICY_DECIDED
        self.facts = facts


def recorded(report: FailureReport, decision: Decision = DECISION) -> dict[str, Any]:
    """Return the facts of the event, as a file gives them back."""
    told = Told()
    past = [PastFailure(attrs.evolve(REPORT, generation=g), DECISION) for g in (1, 2)]
    decided(told, report, past, decision, ASKED)
    facts: dict[str, Any] = json.loads(json.dumps(told.facts))
    return facts


def test_a_decision_is_told_with_what_people_ask_for() -> None:
    facts = recorded(REPORT)
    report = facts.pop("report")

    assert facts == {
        "generation": 3,
        "restarts": 2,
        "verdict": "exclude",
        "reason": "since it asked",
        "delay": 2.0,
        "exclude": ["b"],
        "cool_down": 60.0,
        "history": [1, 2],
        "policy": "default:backoff=1",
        "max_restarts": 5,
        "on_failure": ["exit:3=fail"],
    }
    assert json.loads(report)["failures"][0]["message"] == "killed by SIGKILL"


@pytest.mark.parametrize(
    "decision",
    [DECISION, Decision(Verdict.RESTART, "again"), Decision(Verdict.FAIL, "")],
)
def test_what_was_recorded_can_be_read(decision: Decision) -> None:
    assert read(recorded(REPORT, decision)) == Decided(REPORT, decision, (1, 2), ASKED)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_can_be_recorded(text: str) -> None:
    report = attrs.evolve(REPORT, failures=(attrs.evolve(FAILURE, message=text),))

    found = read(recorded(report))

    assert found.report.failures[0].message == encodable(text[:1000])


def test_what_only_people_read_is_left_out_and_the_rest_is_bounded() -> None:
    long = attrs.evolve(
        FAILURE,
        message="x" * 100_000,
        traceback="t" * 100_000,
        stderr_tail=("line",) * 20,
        log_paths=("p",),
        error_file="e",
        stacks=("s",),
    )
    many = [attrs.evolve(long, rank=rank, timestamp=float(rank)) for rank in range(100)]
    facts = recorded(attrs.evolve(REPORT, failures=tuple(reversed(many))))

    assert len(facts["report"]) < 100_000
    failures = read(facts).report.failures
    assert [failure.rank for failure in failures] == list(range(MAX_FAILURES))
    assert failures[0] == attrs.evolve(
        FAILURE, rank=0, timestamp=0.0, message="x" * 1000
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"report": None}, "JSON is malformed|Expected|invalid"),
        ({"report": "[]"}, "Expected `object`"),
        ({"report": json.dumps({"generation": 1})}, "missing required field"),
        (
            {"report": '{"generation": 1, "restarts": 0, "failures": []}'},
            "its report has no failure",
        ),
        ({"verdict": "maybe"}, "'maybe' is not a valid Verdict"),
        ({"delay": "soon"}, "could not convert string"),
        ({"exclude": 3}, "not iterable"),
        ({"history": [None]}, "int"),
    ],
    ids=str,
)
def test_what_is_no_decision_is_told(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read(recorded(REPORT) | change)


def test_nobody_needs_to_know_which_policy_was_asked() -> None:
    told = Told()
    decided(told, REPORT, [], DECISION)

    assert read(told.facts).asked == Asked()


def test_people_are_spared_what_only_a_replay_needs() -> None:
    event = Event(name="policy.decided", run_id="job", metadata=recorded(REPORT))

    assert event.facts.keys() == event.metadata.keys() - {"report"}


def test_what_is_missing_is_told() -> None:
    facts = recorded(REPORT)
    for name in set(facts) - {"generation", "restarts"}:
        rest = {key: value for key, value in facts.items() if key != name}
        with pytest.raises(ValueError, match=f"it has no fact '{name}'"):
            read(rest)
