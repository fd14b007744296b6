"""Failures: what is read from stderr, and how it is told."""

import signal
from typing import Any

import attrs
import pytest

from elaunch.errors import ChildFailedError
from elaunch.failures import Ending, ProcessFailure, root_cause, signal_name
from elaunch.workers import WorkerExit, WorkerRanks, failure_of


def failure(rank: int, timestamp: float, exitcode: int = 1) -> ProcessFailure:
    return ProcessFailure(
        rank=rank,
        local_rank=rank,
        role="default",
        host="node-1",
        pid=100 + rank,
        exitcode=exitcode,
        timestamp=timestamp,
        message="ValueError: boom",
        location="train.py:12",
        stderr_tail=("line 1", "line 2"),
    )


class TestFailureOf:
    RANKS = WorkerRanks(local_rank=1, rank=5, role_rank=5)

    def exit(self, exitcode: int, **facts: Any) -> WorkerExit:
        return WorkerExit(
            ranks=self.RANKS, pid=9, exitcode=exitcode, timestamp=2.0, **facts
        )

    def test_a_signal_is_named(self) -> None:
        told = failure_of(self.exit(-signal.SIGSEGV), role="r", host="h")

        assert told.message == "killed by SIGSEGV"
        assert told.signal_name() == "SIGSEGV"
        assert told.status == 128 + signal.SIGSEGV

    def test_one_failure_says_nothing_of_another(self) -> None:
        before = failure_of(self.exit(42), role="r", host="h")
        other = failure_of(
            self.exit(1, stderr_tail=("ValueError: boom",), remark="of another"),
            role="r",
            host="h",
        )

        assert other.context == "of another"
        assert failure_of(self.exit(42), role="r", host="h") == before
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            other.message = "x"  # type: ignore[misc] # which is what is tested

    def test_the_class_of_an_exception_has_its_module_if_anybody_tells(self) -> None:
        stack = (
            "Traceback (most recent call last):",
            '  File "train.py", line 4, in <module>',
            "torch.OutOfMemoryError: CUDA out of memory",
        )
        short = "OutOfMemoryError: CUDA out of memory"
        printed = self.exit(1, stderr_tail=stack)
        told = self.exit(1, message=short, traceback="\n".join(stack))
        alone = self.exit(1, message=short)

        names = [
            failure_of(ended, role="r", host="h").exception
            for ended in (printed, told, alone, self.exit(1))
        ]

        qualified = "torch.OutOfMemoryError"
        assert names == [qualified, qualified, "OutOfMemoryError", ""]

    def test_who_is_killed_from_outside_has_no_exception(self) -> None:
        killed = self.exit(-signal.SIGKILL, message="ValueError: boom")
        told = failure_of(killed, role="r", host="h")

        assert told.exception == ""
        assert told.context == "its last error was ValueError: boom"

    def test_how_long_it_ran_is_kept(self) -> None:
        assert failure_of(self.exit(1, uptime=2.5), role="r", host="h").uptime == 2.5
        assert failure_of(self.exit(1), role="r", host="h").uptime is None

    def test_a_bare_exit_code_is_the_message(self) -> None:
        told = failure_of(self.exit(42), role="r", host="h")

        assert told.message == "ended with exit code 42"
        assert told.signal_name() == ""
        assert told.status == 42

    def test_the_last_line_of_stderr_stands_beside_an_exit_code(self) -> None:
        tail = ("usage: a.py [-h]", "a.py: error: no \x1b[31msuch\x1b[0m flag", " ")
        ended = self.exit(2, stderr_tail=tail, remark="a child was killed")
        told = failure_of(ended, role="r", host="h")

        assert told.message == "ended with exit code 2: a.py: error: no such flag"
        assert told.context == "a child was killed"
        endless = self.exit(2, stderr_tail=("x" * 4096,))
        assert len(failure_of(endless, role="r", host="h").message) < 400

    def test_but_not_beside_a_signal(self) -> None:
        ended = self.exit(-signal.SIGSEGV, stderr_tail=("about to crash",))

        assert failure_of(ended, role="r", host="h").message == "killed by SIGSEGV"

    def test_what_the_worker_said_wins(self) -> None:
        tail = ("Traceback (most recent call last):", '  File "a", line 1', "Error: x")
        ended = self.exit(1, message="ValueError: said", stderr_tail=tail)
        told = failure_of(ended, role="r", host="h")

        assert told.message == "ValueError: said"
        assert told.location == "a:1"

    def test_the_context_comes_from_the_workers_own_traceback(self) -> None:
        chain = (
            "Traceback (most recent call last):\n"
            '  File "a.py", line 1, in f\nKeyError: 1\n\n'
            "The above exception was the direct cause of the following exception:\n\n"
            "Traceback (most recent call last):\n"
            '  File "a.py", line 2, in f\nValueError: said'
        )
        ended = self.exit(1, message="ValueError: said", traceback=chain)

        assert failure_of(ended, role="r", host="h").context == "KeyError: 1 at a.py:1"

    def test_a_remark_says_more_of_a_signal(self) -> None:
        ended = self.exit(
            -signal.SIGKILL, ending=Ending.OUT_OF_MEMORY, remark="limit 64 MiB"
        )
        told = failure_of(ended, role="r", host="h")

        assert told.message == "killed by SIGKILL: limit 64 MiB"
        assert told.headline().endswith("SIGKILL (out of memory)")

    def test_one_of_the_node_names_no_rank(self) -> None:
        told = attrs.evolve(
            failure_of(self.exit(1), role="r", host="h"),
            rank=-1,
            local_rank=-1,
            ending=Ending.UNHEALTHY,
        )

        assert told.is_of_node
        assert told.who == "the node"
        assert told.headline() == "the node on host 'h', role 'r': unhealthy"

    def test_a_remark_stands_behind_an_error(self) -> None:
        ended = self.exit(1, message="ValueError: said", remark="a child was killed")
        told = failure_of(ended, role="r", host="h")

        assert (told.message, told.context) == (
            "ValueError: said",
            "a child was killed",
        )

    def test_who_was_killed_did_not_die_of_an_error_that_it_wrote(self) -> None:
        tail = ("Traceback (most recent call last):", '  File "a", line 1', "Error: x")
        told = failure_of(
            self.exit(-signal.SIGKILL, stderr_tail=tail), role="r", host="h"
        )

        assert told.message == "killed by SIGKILL"
        assert told.location == ""
        assert told.context == "its last error was Error: x at a:1"

    def test_who_ended_with_its_parent_was_not_killed_by_itself(self) -> None:
        ended = self.exit(
            -signal.SIGKILL, ending=Ending.PARENT_LOST, message="the server failed"
        )
        told = failure_of(ended, role="r", host="h")

        assert (told.message, told.context) == ("the server failed", "")

    @pytest.mark.parametrize(
        ("exitcode", "ending"), [(3, Ending.EXIT), (-9, Ending.SIGNAL)]
    )
    def test_how_it_ended_follows_from_the_code_alone(
        self, exitcode: int, ending: Ending
    ) -> None:
        assert failure_of(self.exit(exitcode), role="r", host="h").ending is ending

    def test_the_tail_is_bounded(self) -> None:
        tail = tuple(f"line {n}" for n in range(100))
        told = failure_of(self.exit(1, stderr_tail=tail), role="r", host="h")

        assert told.stderr_tail == tail[-20:]


class TestReport:
    def test_the_root_cause_is_the_first_by_time(self) -> None:
        assert root_cause([failure(0, 2.0), failure(1, 1.0)]).rank == 1

    def test_it_comes_first_and_says_everything(self) -> None:
        error = ChildFailedError(
            "train.py", {0: failure(0, 2.0), 1: failure(1, 1.0, 7)}
        )
        text = str(error)

        assert text.startswith("train.py failed; root cause: rank 1 (local rank 1")
        for fact in (
            "node-1",
            "pid 101",
            "exit code 7",
            "boom",
            "train.py:12",
            "line 2",
        ):
            assert fact in text.partition("also failed")[0]
        assert "rank 0" in text.partition("also failed")[2]
        assert error.status == 7
        assert error.get_first_failure()[0] == 1

    def test_others_that_say_the_same_share_a_line(self) -> None:
        killed = [
            attrs.evolve(failure(rank, 2.0, -15), message="killed by SIGTERM")
            for rank in (0, 2, 3, 5)
        ]
        first, other = failure(1, 1.0), failure(4, 3.0, 7)
        failures = {each.rank: each for each in (*killed, first, other)}
        said = str(ChildFailedError("job", failures)).partition("also failed:\n")[2]

        assert said.splitlines() == [
            "  ranks 0, 2-3, 5 on host 'node-1': SIGTERM: killed by SIGTERM",
            f"  {other.headline()}: ValueError: boom",
        ]

    def test_it_says_where_more_is_to_be_found(self) -> None:
        error = ChildFailedError(
            "job", {0: failure(0, 1.0)}, ("/s/0.txt",), "/f/failure.json"
        )

        assert str(error).splitlines()[-3:] == [
            "stacks of workers of this node before they were stopped:",
            "  /s/0.txt",
            "the same as JSON: /f/failure.json",
        ]

    def test_what_a_worker_wrote_does_nothing_to_a_terminal(self) -> None:
        wild = "\x1b[31mred\x1b[0m \x1b[2J\x1b]0;title\x07 \x9b1A\relaunch:\nok\tend"
        bad = attrs.evolve(
            failure(0, 1.0),
            message=wild,
            location=wild,
            context=wild,
            error_file=wild,
            log_paths=(wild,),
            stderr_tail=(wild,),
        )
        error = ChildFailedError("job", {0: bad, 1: attrs.evolve(bad, rank=1)})
        shown = r"red \x1b[2J\x1b]0;title\x07 \x9b1A\relaunch:\nok" + "\tend"

        assert str(error).count(shown) == 7
        assert not set(str(error)) & (set(map(chr, range(32))) - set("\t\n"))
        traceback = attrs.evolve(bad, stderr_tail=(), traceback="\x1b[1mTraceback\x07")
        assert r"    Traceback\x07" in traceback.render()

    def test_a_broken_clock_breaks_no_report(self) -> None:
        assert "1e+300 s" in failure(0, 1e300).render()

    def test_a_failure_with_exit_code_0_still_is_one(self) -> None:
        assert ChildFailedError("job", {0: failure(0, 1.0, 0)}).status == 8


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (250, "signal 250")])
def test_signal_names(number: int, name: str) -> None:
    assert signal_name(number) == name
