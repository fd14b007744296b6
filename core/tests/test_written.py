"""What the monitor `output` finds in what workers write, in time that is given."""

import random
import re
from typing import Any

import attrs
import pytest
from depth import seeds

from elaunch.api import Finding, OutputBlock, Severity, WatchedGroup
from elaunch.monitors.options import OutputOptions
from elaunch.monitors.rules import Rule
from elaunch.monitors.written import LINE_LIMIT, Lines, Written


@attrs.define(eq=False)
class Job:
    """Workers that write, and a clock."""

    written: Written
    now: float = 100.0
    found: list[Finding] = attrs.field(factory=list)

    def write(self, rank: int, text: str, stream: int = 1) -> None:
        block = OutputBlock(rank, stream, text.encode())
        self.found += self.written.take(block, self.now)

    def passes(self, seconds: float, *ranks: int) -> None:
        """Let time pass in which somebody looks at some workers twice a second."""
        for _ in range(round(seconds * 2)):
            self.now += 0.5
            for rank in ranks or (0,):
                block = OutputBlock(rank, 0, b"")
                self.found += self.written.take(block, self.now)

    def pauses(self, seconds: float) -> None:
        """Let time pass in which nobody looks."""
        self.now += seconds

    @property
    def told(self) -> list[tuple[int | None, str, str]]:
        """What was found by now; forgets it."""
        found, self.found = self.found, []
        return [(f.local_rank, f.severity.value, f.reason) for f in found]


def job(*rules: Rule, ranks: int = 1, base: int = 0, **options: Any) -> Job:
    pids = {rank: 1000 + rank for rank in range(ranks)}
    options = options or {"startup": 1e9}
    group = WatchedGroup(pids=pids, base_rank=base)
    return Job(Written(OutputOptions(**options), rules, group))


def rule(pattern: str, **settings: Any) -> Rule:
    name = settings.pop("name", "r")
    return Rule(name=name, pattern=re.compile(pattern.encode()), **settings)


def test_who_stops_writing_is_found_with_the_last_line() -> None:
    some = job(silence=10.0)
    some.passes(5)
    some.write(0, "step 1\nstep 2\n")
    some.passes(9.5)
    assert some.told == []
    some.passes(1.5)

    (found,) = some.found
    assert found.reason == "has written nothing for 10.0 s, over 10 s"
    assert found.severity is Severity.UNHEALTHY
    assert found.hang
    assert found.evidence == {"last_line": "step 2"}


def test_who_never_wrote_is_judged_by_startup_alone() -> None:
    patient, strict = job(silence=10.0), job(silence=10.0, startup=60.0)
    for each in (patient, strict):
        each.passes(59)
        assert each.told == []
        each.passes(10)
    assert patient.told == []
    said = "has written nothing, and startup is 60 s"
    assert strict.told == [(0, "unhealthy", said)]


def test_silence_is_told_once_and_its_end() -> None:
    some = job(silence=10.0, severity="degraded")
    some.write(0, "x")
    some.passes(60)
    assert len(some.told) == 1
    some.write(0, "x")
    some.passes(5)
    ((rank, severity, said),) = some.told
    assert (rank, severity) == (0, "info")
    assert said == "has written something after 60.0 s"
    some.passes(6)
    assert len(some.told) == 1


def test_time_in_which_nobody_looks_is_nobodys_silence() -> None:
    some = job(rule("step", every=10.0), silence=10.0)
    some.write(0, "step\n")
    some.passes(5)
    for _ in range(8):  # of each pause a second counts at most
        some.pauses(3600)
        some.passes(0.5)
        some.write(0, "step\n")
        some.passes(1)

    assert some.told == []


def test_others_that_are_silent_are_named_with_the_first() -> None:
    some = job(silence=10.0, ranks=4, base=8)
    for rank in (0, 1, 2):
        some.write(rank, "x")
    some.passes(0.5, 0, 1, 2, 3)
    some.passes(5, 0, 1, 2, 3)
    some.write(2, "x")
    some.passes(8, 0, 1, 2, 3)

    assert some.told == [
        (
            0,
            "unhealthy",
            "has written nothing for 10.0 s, over 10 s; rank 9 has not, either",
        )
    ]


def test_limits_may_be_about_some_ranks() -> None:
    options = {"silence": 10.0, "startup": 5.0, "ranks": "5"}
    pids = {0: 1000, 1: 1001}
    group = WatchedGroup(pids=pids, base_rank=4)
    some = Job(Written(OutputOptions(**options), (), group))  # type: ignore[arg-type] # of several types
    some.passes(6, 0, 1)

    assert [rank for rank, *_ in some.told] == [1]


def test_a_line_that_must_appear() -> None:
    late, soon = (job(rule("step", within=60.0)) for _ in range(2))
    late.passes(59.5)
    soon.passes(59.5)
    soon.write(0, "step 1\n")
    late.passes(60)
    soon.passes(600)

    reason = "rule 'r' of output is broken: no line that matches came within 60 s"
    assert late.told == [(0, "unhealthy", reason)]
    assert soon.told == []


def test_a_line_that_must_recur_counts_from_the_first_on() -> None:
    some = job(rule("step", every=10.0, severity=Severity.DEGRADED))
    some.passes(100)
    assert some.told == []
    for _ in range(20):
        some.write(0, "step\n")
        some.passes(9)
    assert some.told == []
    some.passes(5)
    ((_, severity, said),) = some.told
    assert severity == "degraded"
    assert "no line that matches came for 10.0 s, over 10 s" in said
    some.write(0, "step\n")
    some.passes(1)
    assert [said for *_, said in some.told] == ["rule 'r' of output is kept again"]


def test_a_line_that_must_not_appear_is_found_at_once_and_is_no_hang() -> None:
    some = job(rule("(?i)nan", forbidden=True))
    some.write(0, "loss 1\nloss NaN\nloss nan\n")

    (found,) = some.found
    assert found.reason == "rule 'r' of output is broken: a line matches: 'loss NaN'"
    assert not found.hang
    assert found.evidence["pattern"] == "(?i)nan"


def test_a_line_is_whole_before_it_is_looked_at() -> None:
    some = job(rule("^a nan$", forbidden=True))
    some.write(0, "a n")
    some.write(0, "an", stream=2)
    some.passes(5)
    some.write(0, "an")
    assert some.told == []
    some.write(0, "\n")
    assert len(some.told) == 1


def test_a_rule_ends_where_its_worker_says_so() -> None:
    some = job(rule("step", every=10.0, until=re.compile(b"done")))
    some.write(0, "step\n")
    some.passes(5)
    some.write(0, "done\n")
    some.passes(500)

    assert some.told == []


def test_matches_in_a_row_are_one_and_others_begin_anew() -> None:
    loss = rule(r"loss=(\S+)", above=9.0, times=3, forbidden=True)
    some = job(loss)
    for number in (10, 10, 1, 10, 10):
        some.write(0, f"loss={number}\n")
    assert some.told == []
    some.write(0, "epoch 2\nloss=11\n")
    assert len(some.told) == 1


def test_a_throughput_that_falls_is_a_line_that_does_not_recur() -> None:
    some = job(rule(r"(\d+) TFLOPS", above=100.0, every=30.0))
    some.write(0, "400 TFLOPS\n")
    for _ in range(5):
        some.passes(5)
        some.write(0, "40 TFLOPS\n")
    assert some.told == []
    some.passes(10)
    assert len(some.told) == 1


def test_rules_are_about_streams_and_ranks() -> None:
    from elaunch.output import RankSet

    err = rule("x", forbidden=True, streams=2, name="err")
    last = rule("x", forbidden=True, ranks=RankSet.from_str("5"), name="last")
    some = job(err, last, ranks=2, base=4)
    some.write(0, "x\n")
    assert some.told == []
    some.write(0, "x\n", stream=2)
    some.write(1, "x\n")
    some.write(1, "x\n", stream=3)

    assert [(rank, said.split("'")[1]) for rank, _, said in some.told] == [
        (0, "err"),
        (1, "last"),
        (1, "err"),
    ]


def test_a_worker_that_nobody_knows_says_nothing() -> None:
    some = job(rule("x", forbidden=True))
    some.write(7, "x\n")

    assert some.told == []


@pytest.mark.parametrize("seed", range(30))
def test_lines_are_the_same_however_they_are_cut(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - reproducible on purpose
    sizes = [draw.choice((0, 1, 5, 100)) for _ in range(50)]
    ends = [draw.choice((b"\n", b"\r", b"\r\n")) for _ in sizes]
    text = b"".join(b"x" * n + end for n, end in zip(sizes, ends, strict=True))
    lines, found, left = Lines(), [], text
    while left:
        size = draw.randint(1, 50)
        whole = lines.feed(left[:size])
        found += whole.split(b"\n") if whole else []
        left = left[size:]

    assert [line for line in found if line] == [
        line for line in re.split(rb"[\r\n]+", text) if line
    ]


def test_a_line_without_end_takes_no_memory() -> None:
    lines = Lines()
    for _ in range(100):
        assert lines.feed(b"x" * 65536) == b""

    assert len(lines.feed(b"\n")) == LINE_LIMIT


@pytest.mark.parametrize("ten", seeds(20))
def test_a_healthy_run_is_never_found(ten: int) -> None:
    for seed in range(ten * 10, ten * 10 + 10):
        draw = random.Random(seed)  # noqa: S311 - reproducible on purpose
        limit = draw.uniform(20, 60)
        some = job(
            rule(r"step \d+", within=1000.0, every=limit), silence=limit, startup=1000.0
        )
        some.passes(draw.uniform(0, 900))  # to compile takes long
        for step in range(30):
            some.write(0, f"step {step}\n")
            some.pauses(draw.choice((0.0, 0.0, 5.0, 3600.0)))
            usual = min(draw.lognormvariate(0, 1), limit - 2)
            slow = limit - 3 if step % 10 == 9 else usual  # a checkpoint
            some.passes(max(0.0, slow))

        assert some.told == [], seed
        some.passes(limit + 2)
        assert len(some.told) == 2  # and who is no longer healthy is
