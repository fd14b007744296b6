"""Scenarios: what happens to a job and when, as plain data that a seed draws."""

import random
from collections.abc import Callable, Mapping, Sequence

import attrs


COORDINATOR = "coordinator"
"""Stands for the node that decides when the stimulus comes."""


MOMENTS = (
    *("ready", "running", "failed", "done", "leaving", "gone"),
    *("claimed", "vacant", "forming", "assigned", "sealed", "closed", "published"),
)
"""What a stimulus can wait for: that a node says where it stands or is gone, that the
office of the coordinator is taken or free, that a generation is formed, a node is given
a rank, a generation is sealed or the job closed, that a meeting point is published."""

WHOSE = "whose"
"""Stands for the node whose change a stimulus waits for."""


@attrs.frozen
class Stimulus:
    """One thing that happens.

    Attributes:
        at: Virtual seconds after the beginning.
        what: What happens, a key of `elaunch.testing.simulation.actions.ACTIONS`.
        node: To which node, `COORDINATOR`, `WHOSE`, or empty.
        value: How long or how much, as the action says.
        upon: One of `MOMENTS`: it happens when this happens next. Empty for at once.
    """

    at: float
    what: str
    node: str = ""
    value: float = 0.0
    upon: str = ""

    def __str__(self) -> str:
        value = f" {self.value:g}" if self.value else ""
        upon = f" upon {self.upon}" if self.upon else ""
        return f"{self.at:7.3f} s: {self.what} {self.node}{value}".rstrip() + upon


@attrs.frozen(kw_only=True)
class Scenario:
    """One run, complete: the same scenario gives the same run.

    Attributes:
        family: What kind of trouble it has.
        seed: Decides everything that is left open here.
        stimuli: What happens, in order.
        nodes: How many nodes can be started.
        min_nodes: Fewest nodes of a generation.
        max_nodes: Most nodes of a generation.
        max_restarts: Restart budget of the job.
        node_unit: A generation has a multiple of so many nodes.
        population: How many nodes will ever come, `None` if replacements may.
        last_call_timeout: Seconds the first generation waits beyond the minimum.
        keep_alive_interval: A third of the lease, in seconds.
        shutdown_timeout: Grace of workers.
        slots: Whether the nodes have ranks from a scheduler.
        slowest: Most seconds that a message takes.
        repeats: Whether store clients repeat writes that were not answered.
        excludes: Whether the policy leaves out nodes.
        cool_down: Seconds for which it does; `None` for good.
        delay: Seconds that the policy lets the job wait before each restart.
        scale_debounce: Seconds in which no node must have come before others come in.
        scale_interval: Seconds in which the job forms anew once for joiners.
        scale_hold_limit: Seconds for which workers can hold that up.
        history: How many changes the store remembers for watches.
    """

    family: str
    seed: int
    stimuli: tuple[Stimulus, ...]
    nodes: int
    min_nodes: int
    max_nodes: int
    max_restarts: int = 3
    node_unit: int = 1
    population: int | None = None
    last_call_timeout: float = 0.5
    keep_alive_interval: float = 1.0
    shutdown_timeout: float = 2.0
    slots: bool = False
    slowest: float = 0.002
    repeats: bool = True
    excludes: bool = False
    cool_down: float | None = None
    delay: float = 0.0
    scale_debounce: float = 0.0
    scale_interval: float = 0.0
    scale_hold_limit: float = 30.0
    history: int = 65_536

    @property
    def checked(self) -> bool:
        """Whether its nodes are checked before they take a place."""
        return any(stimulus.what in _FITNESS for stimulus in self.stimuli)

    @property
    def quiet(self) -> float:
        """Seconds after the last stimulus in which everything must have settled."""
        patience = 4 * (self.cool_down or 0.0) + 8 * self.delay
        calm = 10 * self.scale_debounce + self.scale_interval
        held = any(stimulus.what in _HOLDS for stimulus in self.stimuli)
        calm += self.scale_hold_limit if held else 0.0
        return 45.0 + 9 * self.keep_alive_interval + patience + calm


Draw = Callable[[random.Random, Sequence[str]], list[Stimulus]]
"""Draws the trouble of one family for nodes of these names."""


def generate(family: str, seed: int) -> Scenario:
    """Return the scenario that a seed draws from a family."""
    draw = random.Random(f"{family}/{seed}")  # noqa: S311 - reproducible on purpose
    least = draw.randint(1, 4)
    most = least + draw.randint(0, 3)
    unit = draw.choice((1, 1, 1, 2))
    if most - most % unit < least:
        unit = 1
    nodes = most + draw.randint(0, 2)
    names = [f"n{number}" for number in range(nodes)]
    stimuli = [
        Stimulus(round(draw.uniform(0, 1) ** 3 * 5, 4), "start", name) for name in names
    ]
    stimuli += FAMILIES[family](draw, names)
    scenario = Scenario(
        family=family,
        seed=seed,
        stimuli=tuple(sorted(stimuli, key=lambda stimulus: stimulus.at)),
        nodes=nodes,
        min_nodes=least,
        max_nodes=most,
        max_restarts=draw.choice((0, 1, 3, 9)),
        node_unit=unit,
        population=draw.choice((None, None, None, nodes)),
        last_call_timeout=draw.choice((0.0, 0.5, 3.0)),
        keep_alive_interval=draw.choice((1.0, 2.0, 5.0)),
        shutdown_timeout=draw.choice((0.0, 0.5, 2.0)),
        slots=draw.random() < 0.2,
        slowest=draw.choice((0.001, 0.01, 0.1)),
        repeats=draw.random() < 0.7,
        history=draw.choice((65_536, 65_536, 8)),
    )
    if family not in _DECIDED:
        return scenario
    return attrs.evolve(
        scenario,
        max_restarts=9,
        excludes=draw.random() < 0.7,
        cool_down=draw.choice((None, 1.0, 5.0, 20.0)),
        delay=draw.choice((0.0, 0.0, 0.3, 4.0)),
        scale_debounce=draw.choice((0.0, 0.0, 0.5, 3.0)),
        scale_interval=draw.choice((0.0, 0.0, 2.0, 15.0)),
        scale_hold_limit=draw.choice((0.0, 3.0, 30.0)),
    )


def _draw(
    what: Mapping[str, tuple[float, float]], most: int, *, seized: float = 0.0
) -> Draw:
    """Return what draws up to ``most`` stimuli of these kinds, with their values.

    Args:
        what: The kinds with their smallest and largest values.
        most: How many there are at most.
        seized: Which part of them waits for a moment.
    """

    def draw(rng: random.Random, names: Sequence[str]) -> list[Stimulus]:
        kinds = sorted(what)
        found: list[Stimulus] = []
        # Trouble seldom comes alone, and seldom spares who decides.
        span = rng.choice((3, 8, 20))
        targets = [*names, *(COORDINATOR,) * (len(names) // 2)]
        at = 0.0
        for _ in range(rng.randint(1, most)):
            at = rng.choice(
                (
                    at + rng.uniform(0, 0.02),
                    at + rng.uniform(0, 0.6),
                    rng.uniform(0, span),
                    rng.uniform(0, span),
                )
            )
            kind = rng.choice(kinds)
            least, largest = what[kind]
            value = round(rng.uniform(least, largest), 3)
            upon = rng.choice(MOMENTS) if rng.random() < seized else ""
            node = rng.choice([WHOSE, *targets] if upon else targets)
            if kind in _OF_ALL:
                node = ""
            found.append(Stimulus(round(at, 4), kind, node, value, upon))
        return found

    return draw


_CHURN = {
    "start": (0, 0),
    "kill": (0, 0),
    "power-off": (0, 0),
    "term": (0, 0),
    "join-again": (0, 3),
}
_FAILURES = {
    "exit": (1, 9),
    "collapse": (0, 0),
    "crash-loop": (1, 3),
    "slow-stop": (0.1, 4),
    "slow-start": (0.1, 4),
    "cant-start": (0, 0),
    "finish": (0, 0),
}
_NETWORK = {
    "reset": (0, 0),
    "silence": (0.1, 8),
    "deafen": (0.1, 8),
    "compact": (0, 0),
    "kill": (0, 0),
    "start": (0, 0),
}
_PAUSES = {
    "pause": (0.1, 30),
    "slow": (0.001, 0.05),
    "compact": (0, 0),
    "exit": (1, 9),
    "start": (0, 0),
}
_STORE = {
    "store-outage": (0.1, 20),
    "store-forgets": (0.1, 3),
    "store-pause": (0.1, 10),
    "store-slow": (0.0001, 0.005),
    "exit": (1, 9),
    "start": (0, 0),
}
_SIGNALS = {
    "term": (0, 0),
    "term-twice": (0, 2),
    "notice": (0, 0),
    "save-and-end": (0, 0),
    "start": (0, 0),
    "exit": (1, 9),
    "close": (0, 0),
}
_FITNESS = {
    "unfit": (0.1, 15),
    "slow-check": (0.1, 20),
}
_DECISIONS = {
    "exit": (1, 9),
    "collapse": (0, 0),
    "crash-loop": (1, 3),
    "unfit": (0.1, 15),
    "ask-restart": (0, 0),
    "progress": (0, 0),
    "kill": (0, 0),
    "start": (0, 0),
    "join-again": (0, 3),
    "reset": (0, 0),
    "pause": (0.1, 8),
}
_DRAINS = {
    "drain": (0, 0),
    "term": (0, 0),
    "start": (0, 0),
    "join-again": (0, 3),
    "exit": (1, 9),
    "slow-stop": (0.1, 4),
    "reset": (0, 0),
    "finish": (0, 0),
}
_HOLDS = {
    "hold": (0.2, 40),
    "release": (0, 0),
}
_EVERYTHING = _CHURN | _FAILURES | _NETWORK | _PAUSES | _STORE | _SIGNALS

_OF_ALL = frozenset(
    {"collapse", "store-outage", "store-forgets", "store-pause", "store-slow", "done"}
)
"""What happens to no node in particular."""

FAMILIES: Mapping[str, Draw] = {
    "churn": _draw(_CHURN, 16),
    "failures": _draw(_FAILURES | {"start": (0, 0)}, 12),
    "network": _draw(_NETWORK, 14),
    "pauses": _draw(_PAUSES, 12),
    "store": _draw(_STORE, 10),
    "signals": _draw(_SIGNALS | {"done": (0, 0)}, 10),
    "fitness": _draw(_FITNESS | _CHURN | {"exit": (1, 9), "pause": (0.1, 9)}, 16),
    "decisions": _draw(_DECISIONS, 16),
    "drains": _draw(_DRAINS, 12),
    "holds": _draw(_HOLDS | _CHURN | {"exit": (1, 9), "ask-restart": (0, 0)}, 16),
    "moments": _draw(_EVERYTHING, 10, seized=0.7),
    "everything": _draw(_EVERYTHING, 20, seized=0.1),
    "judged": _draw(_EVERYTHING | _FITNESS | _DECISIONS, 20, seized=0.3),
}
"""The families by name: what can happen in each, and how much of it."""

_DECIDED = frozenset({"decisions", "holds", "judged"})
"""The families in which the policy does more than count, and joiners may have to wait.
"""
