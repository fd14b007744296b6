"""The table that says what follows from which failure."""

import signal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elaunch.errors import UsageError
from elaunch.failure_table import FailureTable, Kind, Treatment
from elaunch.failures import Ending, ProcessFailure, Request, ending_of


def failure(exitcode: int = 1, **facts: Any) -> ProcessFailure:
    told: dict[str, Any] = {
        "rank": 0,
        "local_rank": 0,
        "role": "r",
        "host": "a",
        "pid": 7,
        "timestamp": 1.0,
        "ending": ending_of(exitcode),
    }
    return ProcessFailure(exitcode=exitcode, **(told | facts))


def then(rows: list[str], *failures: ProcessFailure) -> str:
    match = FailureTable.parse(rows).find(failures)
    return match.row.text if match else ""


class TestRows:
    @pytest.mark.parametrize(
        ("row", "fits", "others"),
        [
            ("exit:3", [3], [1, 4, -3]),
            ("exit:3,64-78", [3, 64, 70, 78], [63, 79, 1, -9]),
            ("exit:*", [1, 255], [-9, 0]),
            ("exit:0", [0], [1]),
            ("signal:SIGKILL", [-signal.SIGKILL], [signal.SIGKILL, -signal.SIGTERM]),
            ("signal:kill,term", [-signal.SIGKILL, -signal.SIGTERM], [-1, 1]),
            ("signal:9", [-9], [9, 137]),
            ("signal:*", [-9, -64], [1]),
        ],
    )
    def test_an_end_is_known_by_exit_code_or_signal(
        self, row: str, fits: list[int], others: list[int]
    ) -> None:
        for code in fits:
            assert then([f"{row}=fail"], failure(code)) == f"{row}=fail", code
        for code in others:
            assert then([f"{row}=fail"], failure(code)) == "", code

    @pytest.mark.parametrize(
        "pattern", ["OutOfMemoryError", "torch.*", "*Memory*", "torch.OutOfMemoryError"]
    )
    def test_an_exception_is_known_by_its_class(self, pattern: str) -> None:
        row = f"exception:ValueError,{pattern}=fail"

        assert then([row], failure(exception="torch.OutOfMemoryError")) == row
        assert then([row], failure(exception="ValueError")) == row
        assert then([row], failure(exception="KeyError")) == ""
        assert then([row], failure()) == ""

    def test_a_message_may_hold_what_separates_a_row(self) -> None:
        row = "message:*a=b: *=fail"

        assert then([row], failure(message="that a=b: is wrong")) == row
        assert then([row], failure(message="that a=c: is wrong")) == ""

    @pytest.mark.parametrize("ending", list(Ending))
    def test_every_ending_is_known(self, ending: Ending) -> None:
        row = f"ending:{ending}=fail"

        assert then([row], failure(ending=ending)) == row
        others = [one for one in Ending if one is not ending]
        assert all(then([row], failure(ending=one)) == "" for one in others)

    def test_a_finding_is_known_by_its_monitor_and_has_no_exit_code(self) -> None:
        found = failure(ending=Ending.UNHEALTHY, monitor="heartbeat")

        assert then(["finding:heartbeat=fail"], found) == "finding:heartbeat=fail"
        assert then(["finding:heart*,x=fail"], found) == "finding:heart*,x=fail"
        assert then(["finding:output=fail"], found) == ""
        assert then(["exit:*=fail", "signal:*=fail"], found) == ""
        assert then(["finding:*=fail"], failure(monitor="heartbeat")) == ""

    def test_numbers_stand_behind_what_follows(self) -> None:
        retry, exclude, plain = FailureTable.parse(
            ["exit:3=retry:2", "exit:4=exclude:90.5", "exit:5=exclude"]
        ).rows

        assert (retry.most, retry.cool_down) == (2, None)
        assert (exclude.most, exclude.cool_down) == (None, 90.5)
        assert (plain.most, plain.cool_down) == (None, None)

    @pytest.mark.parametrize(
        ("row", "complaint"),
        [
            ("exit:3", r"--on-failure: 'exit:3' is not of the form WHEN=THEN"),
            ("3=fail", r"is not of the form WHEN=THEN"),
            ("exti:3=fail", r"there is no 'exti'; did you mean 'exit'\?"),
            ("exit:3=stop", r"there is no 'stop' \(there are: 'exclude', 'fail'"),
            ("exit:256=fail", r"exit codes are 0 to 255.*not '256'"),
            ("exit:9-3=fail", r"exit codes are 0 to 255.*not '9-3'"),
            ("exit:=fail", r"exit codes are 0 to 255.*not ''"),
            ("signal:SIGKIL=fail", r"no signal 'SIGKIL'; did you mean 'SIGKILL'\?"),
            ("signal:99=fail", r"there is no signal '99'"),
            ("exception:=fail", r"a name or a pattern is missing"),
            ("exception:A,,B=fail", r"a name or a pattern is missing"),
            ("ending:oom=fail", r"there is no ending 'oom'"),
            ("request:norestart=fail", r"did you mean 'no-restart'\?"),
            ("exit:3=retry:0", r"retry:N is a number of times, at least 1, not '0'"),
            ("exit:3=retry:x", r"retry:N is a number of times, at least 1, not 'x'"),
            ("exit:3=exclude:-1", r"exclude:N is a number of seconds, .* not '-1'"),
            ("exit:3=exclude:inf", r"exclude:N is a number of seconds, .* not 'inf'"),
            ("exit:3=fail:2", r"'fail' takes no number, not '2'"),
        ],
    )
    def test_what_is_wrong_is_told(self, row: str, complaint: str) -> None:
        with pytest.raises(UsageError, match=complaint):
            FailureTable.parse([row])

    @given(st.text())
    def test_any_text_is_a_row_or_an_error(self, text: str) -> None:
        try:
            (row,) = FailureTable.parse([text]).rows
        except UsageError:
            return
        assert row.kind in Kind
        assert row.then in Treatment

    @given(
        st.sampled_from(["exit:1-9", "signal:9", "exception:[!-]*", "message:[z-a]*"]),
        st.builds(
            failure,
            st.integers(-200, 300),
            message=st.text(),
            exception=st.text(),
            monitor=st.text(),
            ending=st.sampled_from(Ending),
        ),
    )
    def test_any_failure_can_be_looked_at(
        self, when: str, failed: ProcessFailure
    ) -> None:
        assert then([f"{when}=fail"], failed) in ("", f"{when}=fail")


class TestOrder:
    FIRST = failure(3, timestamp=1.0)
    LATER = failure(-6, timestamp=2.0, rank=1, host="b")

    def test_the_first_row_that_fits_counts(self) -> None:
        rows = ["exit:9=retry", "exit:1-5=fail", "exit:3=exclude"]

        assert then(rows, self.FIRST) == "exit:1-5=fail"

    def test_only_the_root_cause_is_looked_at(self) -> None:
        assert then(["signal:*=fail"], self.LATER, self.FIRST) == ""
        assert then(["exit:3=fail"], self.LATER, self.FIRST) == "exit:3=fail"

    def test_a_request_counts_whoever_failed_first_and_before_other_rows(self) -> None:
        asking = attrs.evolve(self.LATER, request=Request.NO_RESTART)

        assert then(["exit:3=retry"], self.FIRST, asking) == "request:no-restart=fail"

    def test_users_say_what_follows_from_a_request(self) -> None:
        asking = attrs.evolve(self.FIRST, request=Request.NO_RESTART)
        rows = ["exit:3=fail", "request:no-restart=hand-back"]

        assert then(rows, asking) == rows[1]

    def test_all_that_ask_for_the_same_are_told_the_root_cause_first(self) -> None:
        exclude = Request.EXCLUDE_NODE
        first = attrs.evolve(self.FIRST, request=exclude)
        later = attrs.evolve(self.LATER, request=exclude)
        match = FailureTable().find([later, first, failure(rank=2, timestamp=3.0)])

        assert match is not None
        assert match.failures == (first, later)
        assert match.row.then is Treatment.EXCLUDE

    def test_what_no_row_fits_has_none(self) -> None:
        assert FailureTable().find([self.FIRST]) is None
