"""The planner under whatever nodes do: its laws hold wherever that leads."""

from collections.abc import Sequence
from typing import TypeVar

import attrs
from depth import DEPTH
from hypothesis import settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from job_model import JobModel, Node

from elaunch.failures import ProcessFailure, Request
from elaunch.membership.planner import plan
from elaunch.membership.ranks import Candidate, memberships
from elaunch.membership.records import JobPhase, NodePhase, agent_of
from elaunch.membership.steps import (
    Charge,
    Close,
    Exclude,
    Form,
    Refund,
    Seal,
    Step,
    Timing,
    Wait,
)
from elaunch.policy import Decision, FailureReport, History, Verdict
from elaunch.rendezvous import JobSettings, OutcomeState


T = TypeVar("T")

FEW_DECISIONS = 12
"""After so many a job is settled whose nodes do what they should."""

some = strategies.integers(0, 11)
"""Which of those that could be meant."""


def pick(which: int, among: list[T]) -> list[T]:
    """Return the one that is meant, if there is any."""
    return [among[which % len(among)]] if among else []


@attrs.frozen
class Judging:
    """A policy with a budget, that leaves out the node of every second failure.

    Attributes:
        budget: How many restarts there are.
        cool_down: Seconds for which it does; 0 for never, `None` for good.
        delay: Seconds of back-off.
    """

    budget: int
    cool_down: float | None
    delay: float

    def on_failure(self, report: FailureReport, history: History) -> Decision:
        assert len(history) == report.restarts
        generations = [past.report.generation for past in history]
        assert [*generations, report.generation] == sorted(
            {*generations, report.generation}
        )
        if report.restarts >= self.budget:
            return Decision(Verdict.FAIL, "enough")
        if self.cool_down == 0 or len(history) % 2:
            return Decision(Verdict.RESTART, "again", self.delay)
        nodes = (report.failures[0].node,)
        return Decision(Verdict.EXCLUDE, "bad", self.delay, nodes, self.cool_down)


def _asking(failures: Sequence[ProcessFailure]) -> set[tuple[str, Request]]:
    """Return who asks for what."""
    return {(f.node, f.request) for f in failures if f.request}


class PlannerMachine(RuleBasedStateMachine):
    """Anything can happen at any time; a law is checked with each decision."""

    model: JobModel
    policy: Judging
    timing: Timing

    @initialize(
        least=strategies.integers(1, 3),
        more=strategies.integers(0, 2),
        unit=strategies.sampled_from((1, 1, 2)),
        budget=strategies.integers(0, 2),
        population=strategies.sampled_from((None, None, 3, 5)),
        slots=strategies.booleans(),
        nodes=strategies.integers(0, 5),
        cool_down=strategies.sampled_from((0.0, None, 10.0, 60.0)),
        delay=strategies.sampled_from((0.0, 3.0)),
        calm=strategies.sampled_from((0.0, 0.0, 2.0)),
    )
    def begin(
        self,
        *,
        least: int,
        more: int,
        unit: int,
        budget: int,
        population: int | None,
        slots: bool,
        nodes: int,
        cool_down: float | None,
        delay: float,
        calm: float,
    ) -> None:
        most = least + more
        job = JobSettings(
            min_nodes=least,
            max_nodes=most,
            max_restarts=budget,
            node_unit=unit if most - most % unit >= least else 1,
            population=max(population, least) if population else None,
        )
        self.model = JobModel(job, slots)
        self.policy = Judging(budget, cool_down, delay)
        self.timing = Timing(last_call=5.0, scale_debounce=calm, scale_interval=calm)
        self.charged: set[int] = set()
        for number in range(nodes):
            self.model.arrive(number, job)

    # -- nodes -----------------------------------------------------------------------

    @rule(slot=strategies.integers(0, 3), differs=some)
    @precondition(lambda self: len(self.model.nodes) < 6)
    def arrive(self, slot: int, differs: int) -> None:
        job = self.model.settings
        self.model.arrive(
            slot, job if differs else attrs.evolve(job, shutdown_timeout=1.0)
        )

    @rule(which=some)
    def die(self, which: int) -> None:
        for node in pick(which, list(self.model.nodes.values())):
            self.model.vanish(node)

    @rule(which=some)
    def say_goodbye(self, which: int) -> None:
        for node in pick(which, self.model.here()):
            self.model.retire(node)

    @rule(which=some, request=strategies.sampled_from((None, *Request)))
    @precondition(lambda self: self.model.running())
    def fail(self, which: int, request: Request | None) -> None:
        for node in pick(which, self.model.running()):
            self.model.fail(node, request)

    @rule(which=some, seldom=some)
    @precondition(lambda self: self.model.running())
    def preempt(self, which: int, seldom: int) -> None:
        """Seldom, since that is the end of a story."""
        for node in pick(which, self.model.running()):
            if not seldom:
                self.model.preempt(node)

    @rule(which=some, unfit=strategies.booleans())
    def withhold(self, which: int, *, unfit: bool) -> None:
        for node in pick(which, self.model.here()):
            self.model.withhold(node, "unfit" if unfit else "")

    @rule(which=some)
    @precondition(lambda self: self.model.running())
    def ask_for_restart(self, which: int) -> None:
        for node in pick(which, self.model.running()):
            self.model.ask_for_restart(node)

    @rule(which=some)
    @precondition(lambda self: self.model.running())
    def succeed(self, which: int) -> None:
        for node in pick(which, self.model.running()):
            self.model.succeed(node)

    @rule()
    @precondition(lambda self: self.model.running())
    def succeed_together(self) -> None:
        for node in self.model.running():
            self.model.succeed(node)

    @rule()
    def act_all(self) -> None:
        for node in tuple(self.model.nodes.values()):
            self.model.act(node)

    @rule(which=some)
    def act(self, which: int) -> None:
        for node in pick(which, list(self.model.nodes.values())):
            self.model.act(node)

    @rule(which=some)
    def come_back(self, which: int) -> None:
        for node in pick(which, self.model.here()):
            self.model.come_back(node)

    @rule(which=some)
    @precondition(lambda self: self.model.stale())
    def expire(self, which: int) -> None:
        for key in pick(which, self.model.stale()):
            self.model.expire(key)

    # -- the coordinator -------------------------------------------------------------

    @rule(seconds=strategies.sampled_from((0.1, 6.0, 50.0)))
    def pass_time(self, seconds: float) -> None:
        self.model.now += seconds

    @rule()
    def take_office(self) -> None:
        self.model.take_office()

    @rule(count=strategies.integers(0, 3))
    @precondition(lambda self: self.model.job.phase is JobPhase.FORMING)
    def die_while_sealing(self, count: int) -> None:
        decision = self.plan()
        if isinstance(decision, Seal):
            self.model.assign(decision.members, count)
            self.model.take_office()

    @rule(heard=strategies.sampled_from((0, 1, 2, 1000, 1000)))
    def decide(self, heard: int) -> None:
        """Decide on what was heard, which may be less than what has happened."""
        self.model.hear(heard)
        self.perform()

    @rule()
    def settle(self) -> None:
        """When all nodes do what they should, the coordinator comes to an end."""
        for _ in range(FEW_DECISIONS):
            self.act_all()
            for key in self.model.stale():
                self.model.expire(key)
            self.model.hear(1000)
            decision = self.perform()
            if isinstance(decision, Wait):
                if decision.until is None:
                    return self.check_settled()
                self.model.now = decision.until
        raise AssertionError(f"it goes on and on: {self.model.job}")

    # -- laws ------------------------------------------------------------------------

    def plan(self) -> Step:
        """Ask twice: the answer is the same, and the view stays as it is."""
        model = self.model
        view = model.view()
        before = attrs.evolve(view, nodes=dict(view.nodes), members=dict(view.members))
        first, second = (
            plan(view, self.policy, self.timing, model.now) for _ in range(2)
        )

        assert first == second
        assert view == before
        return first

    def perform(self) -> Step:
        decision, job = self.plan(), self.model.job
        preempted = self.model.view().preempted
        if preempted and job.phase is not JobPhase.CLOSED:
            # Whatever else has happened, and before anything is sealed or charged.
            assert isinstance(decision, Close)
            assert decision.outcome.state is OutcomeState.PREEMPTED
        match decision:
            case Wait(until):
                assert until is None or until > self.model.now
            case Form(_, restarts):
                assert job.phase is JobPhase.SEALED
                self.check_cost(restarts, job.generation)
            case Charge(_, restarts):
                assert job.phase is JobPhase.FORMING
                assert restarts > job.restarts
                self.check_cost(restarts, job.generation - 1)
            case Refund(_, restarts):
                assert job.phase is JobPhase.FORMING
                assert restarts == job.restarts - 1
                self.charged.remove(job.generation - 1)
            case Seal(members):
                self.check_seal(members)
                assert self.model.now >= self.model.not_before
            case Exclude(node_ids):
                late = set(self.model.view().stopping())
                assert job.phase is JobPhase.FORMING
                assert set(node_ids) == late
            case Close(outcome):
                self.check_close(outcome.state)
        assert job.phase is not JobPhase.CLOSED or decision == Wait()
        self.model.perform(decision)
        return decision

    def check_cost(self, restarts: int, failed: int) -> None:
        """Only failures cost restarts, each generation one, and the budget is kept."""
        job = self.model.job
        if restarts != job.restarts:
            assert restarts == job.restarts + 1 <= job.settings.max_restarts
            assert self.model.view().failures()
            assert failed not in self.charged
            self.charged.add(failed)

    def check_seal(self, members: tuple[Candidate, ...]) -> None:
        """Only nodes whose workers have stopped, each once, and as many as fit."""
        job = self.model.job
        view, size = self.model.view(), len(members)
        places = memberships(members, generation=1, restart_count=0, reason="")
        ids = [member.node_id for member in members]
        agents = {agent_of(node_id) for node_id in ids}
        at_work = {agent_of(n.node_id) for n in self.model.nodes.values() if n.at_work}
        ready = [view.nodes[node_id].record for node_id in ids]

        assert job.phase is JobPhase.FORMING
        assert size == job.settings.fitting(len(view.candidates())) > 0
        assert [place.group_rank for place in places] == list(range(size))
        assert len(agents) == size
        assert not agents & at_work
        assert not view.stopping()
        assert all(record.phase is NodePhase.READY for record in ready)
        assert all(record.settings == job.settings for record in ready)
        assert not any(record.unfit for record in ready)
        assert not any(view.exclusion_of(node_id) for node_id in ids)
        if view.members and job.failed == job.members_of and not view.causes():
            known = view.history[-1].report.failures
            assert _asking(view.failures()) <= _asking(known)
        for node_id, rank in view.members.items():
            if not self.model.slots and node_id in ids and rank < size:
                assert ids.index(node_id) == rank

    def check_close(self, state: OutcomeState) -> None:
        """It succeeds when all are done, and fails only if it can't go on."""
        job = self.model.job
        view = self.model.view()
        if state is OutcomeState.PREEMPTED:
            assert view.preempted <= view.members.keys()
            assert view.preempted
        elif state is OutcomeState.SUCCEEDED:
            assert len(view.members) == job.size
            assert {(m, job.generation) for m in view.members} <= self.model.done
        else:
            spent = view.failures() and job.restarts == job.settings.max_restarts
            fits = job.settings.fitting(len(view.candidates()))
            lost = job.settings.population is not None and not fits
            assert lost if state is OutcomeState.LOST_QUORUM else spent

    def check_settled(self) -> None:
        """With enough nodes there is a generation, and it has all that fit."""
        job = self.model.job
        view = self.model.view()
        here = [
            n
            for n in self.model.here()
            if n.record.settings == job.settings
            and not n.record.unfit
            and not view.exclusion_of(n.node_id)
        ]
        fitting = job.settings.fitting(len(here))
        if job.phase is JobPhase.FORMING:
            assert not fitting
        if job.phase is JobPhase.SEALED and not self.some_are_done():
            assert job.size == fitting

    def some_are_done(self) -> bool:
        """While some are done the others go on, and nobody joins them."""
        return any(place == self.model.job.generation for _, place in self.model.done)

    @invariant()
    def members_run_no_other_generation_than_the_sealed_one(self) -> None:
        def counts(node: Node) -> bool:
            return node.at_work and self.model.is_known(node)

        job = self.model.job
        if job.phase is JobPhase.SEALED:
            assert {n.place for n in self.model.here() if counts(n)} <= {job.generation}


settings.register_profile(
    "the same every time",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=120 * DEPTH,
    stateful_step_count=50,
)

TestPlanner = PlannerMachine.TestCase
TestPlanner.settings = settings.get_profile("the same every time")
