"""Nodes that are not fit: they stay out, everybody hears why, and they come back.

The real agents and the real rendezvous, in virtual time; all laws hold at every step.
"""

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from depth import seeds

from elaunch.api import PreflightContext, PreflightOptions, PreflightResult
from elaunch.preflight import NamedPreflight
from elaunch.testing.simulation import Report, Scenario, Simulation, Stimulus


every_seed = pytest.mark.parametrize("seed", seeds(8))

Judge = Callable[[PreflightContext, float], str]
"""Says what is wrong with a node, from why it is asked and the time."""


@attrs.define(eq=False)
class Check:
    """A check that takes some time, and finds what it is told to."""

    judge: Judge
    takes: float = 0.0
    options: PreflightOptions = attrs.field(
        factory=lambda: PreflightOptions(retry=10, repeat=20, timeout=5)
    )
    asked: list[PreflightContext] = attrs.field(factory=list, init=False)
    began: list[float] = attrs.field(factory=list, init=False)
    given_up: int = 0
    answered: int = 0
    most_at_once: int = 0

    async def check(self, context: PreflightContext) -> PreflightResult:
        now = asyncio.get_running_loop().time()
        self.asked.append(context)
        running = len(self.asked) - self.given_up - self.answered
        self.most_at_once = max(self.most_at_once, running)
        self.began.append(now)
        try:
            await asyncio.sleep(self.takes)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        self.answered += 1
        return PreflightResult(problem=self.judge(context, now), facts={"n": 1})


@attrs.define(eq=False)
class Odd:
    """A check that does what none should."""

    does: Callable[[], Any]
    options: PreflightOptions = attrs.field(factory=lambda: PreflightOptions(timeout=5))

    async def check(self, _: PreflightContext) -> PreflightResult:
        answer = self.does()
        result: PreflightResult = (
            await answer if asyncio.iscoroutine(answer) else answer
        )
        return result


def fit(_: PreflightContext, __: float) -> str:
    return ""


def starts(*names: str) -> list[Stimulus]:
    return [Stimulus(0.7 * number, "start", name) for number, name in enumerate(names)]


def world(seed: int, stimuli: list[Stimulus], **settings: Any) -> Simulation:
    facts = {"nodes": 3, "min_nodes": 2, "max_nodes": 2, "last_call_timeout": 1.0}
    return Simulation(
        Scenario(
            family="scenario",
            seed=seed,
            stimuli=tuple(stimuli),
            **{**facts, **settings},
        )
    )


def check_nodes(simulation: Simulation, **checks: Check | Odd) -> None:
    for name, check in checks.items():
        named = NamedPreflight(f"check-{name}", check, check.options)
        simulation.nodes[name].preflights = [named]


def played(simulation: Simulation) -> Report:
    report = simulation.run()
    assert report.broken == (), "\n".join(report.story)
    return report


def told(report: Report, text: str) -> list[str]:
    return [line for line in report.story if text in line]


def places(simulation: Simulation, name: str) -> list[int]:
    return [place.generation for place in simulation.nodes[name].memberships]


@every_seed
def test_checks_that_pass_cost_nobody_a_place(seed: int) -> None:
    simulation = world(seed, starts("n0", "n1"))
    check_nodes(simulation, n0=Check(fit), n1=Check(fit, takes=0.2))
    report = played(simulation)

    assert report.generations == 1
    assert places(simulation, "n0") == places(simulation, "n1") == [1]
    assert len(told(report, "preflight.passed")) == 2
    assert told(report, "preflight.failed") == []


@every_seed
def test_a_job_waits_for_a_node_that_it_needs_until_that_passes(seed: int) -> None:
    simulation = world(seed, starts("n0", "n1"))
    check = Check(lambda context, _: "" if context.attempt > 3 else "the disk is full")
    check_nodes(simulation, n1=check)
    report = played(simulation)

    assert places(simulation, "n0") == places(simulation, "n1") == [1]
    assert [context.attempt for context in check.asked[:4]] == [1, 2, 3, 4]
    # Every 10 s, and not once more than that.
    assert [
        round(b - a) for a, b in zip(check.began, check.began[1:4], strict=False)
    ] == [
        10,
        10,
        10,
    ]
    (failed,) = told(report, "preflight.failed")
    assert "reason=the disk is full" in failed
    assert "attempt=1" in failed
    (passed,) = told(report, "preflight.passed")
    assert "attempt=4" in passed
    # Both nodes tell of the one.
    waiting = told(report, "rendezvous.waiting")
    reasons = [line for line in waiting if "check-n1': the disk is full" in line]
    assert {re.search(r"\bn[01]\b", line)[0] for line in reasons} == {"n0", "n1"}  # type: ignore[index] # it is there


@every_seed
def test_others_begin_without_it_where_they_are_enough_and_take_it_in(
    seed: int,
) -> None:
    simulation = world(seed, starts("n0", "n1"), min_nodes=1)
    check_nodes(
        simulation, n1=Check(lambda context, _: "" if context.attempt > 2 else "bad")
    )
    report = played(simulation)

    assert places(simulation, "n0") == [1, 2]
    assert places(simulation, "n1") == [2]
    assert report.generations == 2


@every_seed
def test_a_member_that_is_not_fit_any_more_gives_its_place_to_a_spare(
    seed: int,
) -> None:
    trouble = [Stimulus(6.0, "exit", "n0", 1)]
    simulation = world(seed, starts("n0", "n1", "n2") + trouble)
    check = Check(lambda context, _: "broken" if context.generation else "")
    check_nodes(simulation, n1=check)
    report = played(simulation)

    assert places(simulation, "n1") == [1]
    assert places(simulation, "n2") == [2]
    assert [context.generation for context in check.asked[:2]] == [0, 1]
    assert len(told(report, "preflight.failed")) == 1


@every_seed
def test_a_spare_is_checked_while_it_waits(seed: int) -> None:
    trouble = [Stimulus(60.0, "kill", "n0")]
    simulation = world(seed, [*starts("n0", "n1", "n2", "n3"), *trouble], nodes=4)
    # n2 would come first, but is broken from half a minute on.
    check = Check(lambda _, now: "broken" if now > 30 + check.began[0] else "")
    check_nodes(simulation, n2=check)
    report = played(simulation)

    assert places(simulation, "n1") == [1, 2]
    assert places(simulation, "n2") == []
    assert places(simulation, "n3") == [2]
    assert len(told(report, "preflight.passed")) == 1
    assert len(told(report, "preflight.failed")) == 1


@every_seed
def test_what_is_only_to_be_told_keeps_nobody_out(seed: int) -> None:
    simulation = world(seed, starts("n0", "n1"))
    options = PreflightOptions(required=False)
    check_nodes(simulation, n1=Check(lambda *_: "bad", options=options))
    report = played(simulation)

    assert places(simulation, "n1") == [1]
    assert "required=False" in told(report, "preflight.failed")[0]


@every_seed
def test_all_checks_are_made_at_the_same_time(seed: int) -> None:
    simulation = world(seed, starts("n0", "n1"))
    options = PreflightOptions(timeout=60, repeat=0)
    checks = [Check(fit, takes=20, options=options) for _ in range(10)]
    simulation.nodes["n0"].preflights = [
        NamedPreflight("slow", check, options) for check in checks
    ]
    report = played(simulation)

    assert len({check.began[0] for check in checks}) == 1
    assert [len(check.asked) for check in checks] == [1] * 10
    assert places(simulation, "n0") == [1]
    # It said that it is here long before, and what it waits for.
    reasons = told(report, "'slow' is still under way")
    assert {re.search(r"\bn[01]\b", line)[0] for line in reasons} == {"n0", "n1"}  # type: ignore[index] # it is there


async def _hang() -> None:
    await asyncio.get_running_loop().create_future()


async def _cancel_oneself() -> None:
    raise asyncio.CancelledError


async def _hang_whatever_comes() -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + 60
    while loop.time() < end:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(end - loop.time())


@pytest.mark.parametrize(
    ("does", "why"),
    [
        (lambda: int("x1"), "it failed: ValueError("),
        (lambda: None, "it returned None, no PreflightResult"),
        (lambda: PreflightResult(problem=3), "it failed: TypeError("),  # type: ignore[arg-type] # on purpose
        (lambda: PreflightResult(facts={"x": b""}), "it failed: TypeError("),  # type: ignore[dict-item] # likewise
        (_cancel_oneself, "it was cancelled"),
        (_hang, "no answer within 5 s"),
        (_hang_whatever_comes, "no answer within 5 s"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_check_that_is_no_good_is_a_problem_of_its_node_alone(
    seed: int, does: Callable[[], Any], why: str
) -> None:
    simulation = world(seed, starts("n0", "n1", "n2"))
    well = Check(fit)
    check_nodes(simulation, n1=Odd(does))
    odd = simulation.nodes["n1"].preflights[0]
    simulation.nodes["n1"].preflights = [
        NamedPreflight("well", well, well.options),
        odd,
    ]
    report = played(simulation)

    assert places(simulation, "n0") == places(simulation, "n2") == [1]
    assert places(simulation, "n1") == []
    (failed,) = told(report, "preflight.failed")
    assert f"reason={why}" in failed
    assert "preflight=well" in told(report, "preflight.passed")[0]


@every_seed
def test_a_member_whose_check_takes_long_is_not_taken_for_dead(seed: int) -> None:
    trouble = [Stimulus(6.0, "exit", "n0", 1)]
    simulation = world(seed, starts("n0", "n1") + trouble)
    options = PreflightOptions(timeout=600, repeat=0)
    check = Check(fit, options=options)

    def slow_from_now_on(_: PreflightContext, __: float) -> str:
        check.takes = 40
        return ""

    check.judge = slow_from_now_on
    check_nodes(simulation, n1=check)
    report = played(simulation)

    assert told(report, "was excluded") == []
    assert told(report, "rendezvous.lost") == []
    assert places(simulation, "n0") == places(simulation, "n1") == [1, 2]


@every_seed
def test_others_do_not_wait_for_a_check_that_takes_long(seed: int) -> None:
    trouble = [Stimulus(6.0, "exit", "n0", 1)]
    simulation = world(seed, starts("n0", "n1", "n2") + trouble)
    check = Check(fit, options=PreflightOptions(timeout=600))

    def slow_from_now_on(_: PreflightContext, __: float) -> str:
        check.takes = 300
        return ""

    check.judge = slow_from_now_on
    check_nodes(simulation, n1=check)
    played(simulation)

    assert places(simulation, "n2") == [2]
    assert places(simulation, "n1") == [1]


@every_seed
def test_a_signal_ends_a_node_in_the_middle_of_its_checks(seed: int) -> None:
    trouble = [Stimulus(5.0, "term", "n1")]
    simulation = world(seed, starts("n0", "n1", "n2") + trouble)
    check = Check(fit, takes=300, options=PreflightOptions(timeout=600))
    check_nodes(simulation, n1=check)
    report = played(simulation)

    assert check.given_up == 1
    assert places(simulation, "n1") == []
    assert places(simulation, "n0") == places(simulation, "n2") == [1]
    assert told(report, "preflight.passed") == []


@every_seed
def test_a_check_that_is_late_is_given_up_before_it_is_made_again(seed: int) -> None:
    simulation = world(seed, [*starts("n0", "n1", "n2"), Stimulus(40.0, "done")])
    check = Check(fit, takes=300)
    check_nodes(simulation, n1=check)
    played(simulation)

    assert len(check.asked) > 2
    assert check.most_at_once == 1
    assert check.given_up == len(check.asked)


@every_seed
def test_a_node_that_is_alone_and_not_fit_says_so_when_its_time_is_over(
    seed: int,
) -> None:
    simulation = world(seed, starts("n0"), min_nodes=1, max_nodes=1, nodes=1)
    check_nodes(simulation, n0=Check(lambda *_: "no memory"))
    simulation.nodes["n0"].options = attrs.evolve(
        simulation.nodes["n0"].options, join_timeout=30
    )
    simulation.run()
    story = "\n".join(simulation.laws.story)

    assert places(simulation, "n0") == []
    assert "did not form within 30 s" in story
    assert "unfit: preflight 'check-n0': no memory" in story
