"""What another policy would have made of the failures of a job. Pure.

What was recorded happened under the recorded policy. Where the other one decides
differently things would have gone on differently, which nobody can know; what follows
for sure is taken into account: after the end of the job nothing more fails, nor does a
node that is left out.
"""

import enum
import math
from collections.abc import Sequence

import attrs

from elaunch.failures import root_cause
from elaunch.policy import (
    Decision,
    FailureReport,
    PastFailure,
    RestartPolicy,
    Verdict,
    ask,
)
from elaunch.replay.reading import RecordedDecision


class Ending(enum.StrEnum):
    """How a job ends, as far as its failures tell."""

    WENT_ON = "went on"
    FAILED = "failed"
    HANDED_BACK = "handed back"


WOULD_HAVE = {
    Ending.WENT_ON: "gone on",
    Ending.FAILED: "failed",
    Ending.HANDED_BACK: "been handed back",
}
"""What a job has done, or would have done, by its end."""

_ENDINGS = {Verdict.FAIL: Ending.FAILED, Verdict.HAND_BACK: Ending.HANDED_BACK}


@attrs.frozen(kw_only=True)
class Step:
    """One failure, and what follows from it.

    Attributes:
        recorded: What was decided.
        replayed: What the other policy decides; `None` where it is not asked.
        instead: Why it is not asked, or empty.
        missing: Generations whose failures the recorded policy knew, and nobody here.
        taken_back: Whether it turned out to be no failure: whatever is decided about
            such a one, nothing comes of it.
    """

    recorded: RecordedDecision
    replayed: Decision | None
    instead: str = ""
    missing: tuple[int, ...] = ()
    taken_back: bool = False

    @property
    def differs(self) -> bool:
        """Whether the policies decide differently, whatever their reasons."""
        return self.replayed is None or _core(self.replayed) != _core(
            self.recorded.decided.decision
        )


@attrs.frozen(kw_only=True)
class Replay:
    """The failures of one job under another policy.

    Attributes:
        run_id: Id of the job.
        steps: The failures, in order.
        recorded: How the job ended, as far as its failures tell.
        replayed: How it would have ended.
        ended_after: The generation whose failure would have ended it; `None` if none.
    """

    run_id: str
    steps: tuple[Step, ...]
    recorded: Ending
    replayed: Ending
    ended_after: int | None


def replay(life: Sequence[RecordedDecision], policy: RestartPolicy) -> Replay:
    """Ask a policy about each failure of one job.

    Args:
        life: What was decided about it, in order (`elaunch.replay.lives_of`).
        policy: The other policy.
    """
    course = _Course(policy, _taken_back(life))
    steps = tuple(course.step(one) for one in life)
    last = life[-1].decided.decision
    return Replay(
        run_id=life[-1].run_id,
        steps=steps,
        recorded=_ENDINGS.get(last.verdict, Ending.WENT_ON),
        replayed=course.ending,
        ended_after=course.ended_after,
    )


def _taken_back(life: Sequence[RecordedDecision]) -> frozenset[int]:
    """Return the generations whose failures a later decision would know, and does not.

    Only one that knew as many failures as were spent restarts knew all.
    """
    found: set[int] = set()
    for number, one in enumerate(life):
        known = one.decided.history
        if len(known) == one.decided.report.restarts:
            found |= {before.generation for before in life[:number]} - {*known}
    return frozenset(found)


@attrs.define(eq=False)
class _Course:
    """How the job goes under the other policy."""

    policy: RestartPolicy
    taken_back: frozenset[int]
    ending: Ending = Ending.WENT_ON
    ended_after: int | None = None
    _past: dict[int, PastFailure] = attrs.field(factory=dict, init=False)
    _skipped: set[int] = attrs.field(factory=set, init=False)
    _out_until: dict[str, float] = attrs.field(factory=dict, init=False)

    def step(self, recorded: RecordedDecision) -> Step:
        told = recorded.decided
        past = [self._past[g] for g in told.history if g in self._past]
        missing = {*told.history} - self._past.keys() - self._skipped
        unasked = self._unasked(told.report)
        if unasked:
            self._skipped.add(recorded.generation)
            return Step(recorded=recorded, replayed=None, instead=unasked)
        skipped = len(self._skipped & {*told.history})
        report = attrs.evolve(
            told.report, restarts=max(0, told.report.restarts - skipped)
        )
        decision = ask(self.policy, report, past)
        taken_back = recorded.generation in self.taken_back
        if not taken_back:
            self._follow(report, decision)
        return Step(
            recorded=recorded,
            replayed=decision,
            missing=tuple(sorted(missing)),
            taken_back=taken_back,
        )

    def _unasked(self, report: FailureReport) -> str:
        """Return why this failure would not have happened, if it would not."""
        if self.ended_after is not None:
            done = WOULD_HAVE[self.ending]
            return f"the job has {done} after generation {self.ended_after}"
        first = root_cause(report.failures)
        node = first.node or first.host
        if report.time < self._out_until.get(node, -math.inf):
            return f"node {node!r} is left out"
        return ""

    def _follow(self, report: FailureReport, decision: Decision) -> None:
        self._past[report.generation] = PastFailure(report, decision)
        if decision.verdict in _ENDINGS:
            self.ending = _ENDINGS[decision.verdict]
            self.ended_after = report.generation
        long = math.inf if decision.cool_down is None else decision.cool_down
        for node in decision.exclude:
            self._out_until[node] = report.time + long


def _core(decision: Decision) -> Decision:
    return attrs.evolve(decision, reason="")
