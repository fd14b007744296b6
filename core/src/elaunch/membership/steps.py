"""What a coordinator can do next, and how long it waits for what: plain values."""

import msgspec

from elaunch.membership.holding import Hold
from elaunch.membership.ranks import Candidate
from elaunch.policy import PastFailure
from elaunch.rendezvous import Outcome


class Wait(msgspec.Struct, frozen=True):
    """Do nothing before something changes, or before ``until``.

    Attributes:
        until: When to plan again at the latest.
        quorum: Whether only the last call keeps the generation from being sealed.
        held: The holds of workers that alone keep the job from taking in nodes.
    """

    until: float | None = None
    quorum: bool = False
    held: tuple[Hold, ...] = ()


class Form(msgspec.Struct, frozen=True):
    """Begin to form the next generation.

    Attributes:
        reason: Why.
        restarts: Restarts spent on failures then.
        past: The failure that it follows from, with the decision; `None` for none.
        grows: Whether only nodes that joined are the cause.
    """

    reason: str
    restarts: int
    past: PastFailure | None = None
    grows: bool = False


class Charge(msgspec.Struct, frozen=True):
    """Count the generation that is forming as a restart: the last one failed, too.

    Attributes:
        reason: Why.
        restarts: Restarts spent on failures then.
        past: The failure, with the decision.
    """

    reason: str
    restarts: int
    past: PastFailure


class Refund(msgspec.Struct, frozen=True):
    """Take a restart back: what failed did so because a member was lost."""

    reason: str
    restarts: int


class Seal(msgspec.Struct, frozen=True):
    """Seal the forming generation over these nodes, in the order of group ranks.

    Attributes:
        members: The nodes.
        departed: Agents that have been members so far and are gone.
    """

    members: tuple[Candidate, ...]
    departed: int = 0


class Exclude(msgspec.Struct, frozen=True):
    """Count these nodes as dead: they did not stop in time."""

    node_ids: tuple[str, ...]


class Close(msgspec.Struct, frozen=True):
    """End the job.

    Attributes:
        outcome: How it ended.
        past: The failure that ends it, with the decision; `None` for none.
    """

    outcome: Outcome
    past: PastFailure | None = None


class Suspicion(msgspec.Struct, frozen=True):
    """How a failure that would end a job is told from the loss of a member.

    Attributes:
        known_within: Seconds in which the loss of a member is known.
        asks: Whether that is so long that members are asked: those that live stop
            their workers and are ready for a next generation.
    """

    known_within: float
    asks: bool = False


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How long a coordinator waits for what.

    Attributes:
        last_call: Seconds the first generation waits beyond the minimum.
        suspicion: How a failure that would end the job is told from the loss of a
            member, which may be its cause and be noticed later.
        scale_debounce: Seconds in which no node must have joined before the job forms
            anew for those that have.
        scale_interval: Seconds in which the job forms anew at most once for nodes that
            joined.
        scale_hold_limit: Seconds by which workers can put that off at most.
    """

    last_call: float = 0.0
    suspicion: Suspicion = Suspicion(0.0)
    scale_debounce: float = 0.0
    scale_interval: float = 0.0
    scale_hold_limit: float = 0.0


ASKING = "asking first whether the loss of a node was the cause"
"""End of the reason for which a generation forms while members are asked."""

Step = Wait | Form | Charge | Refund | Seal | Exclude | Close
