"""Options that every store-based rendezvous shares (``--rdzv-conf``)."""

import attrs

from elaunch.errors import UsageError
from elaunch.membership.steps import Suspicion, Timing
from elaunch.rendezvous import JobSettings


def _positive(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    if not value > 0:
        raise ValueError(f"{field.name!r} must be greater than 0, not {value:g}")


def _not_negative(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{field.name!r} must not be negative, not {value:g}")


def _at_least_one(_: object, field: "attrs.Attribute[int]", value: int) -> None:
    if value < 1:
        raise ValueError(f"{field.name!r} must be at least 1, not {value}")


@attrs.frozen(kw_only=True)
class RendezvousOptions:
    """Options of a rendezvous; times in seconds. A backend's own inherit from it.

    Attributes:
        join_timeout: How long a node waits to become a member of a generation. A
            spare of a running job waits without limit.
        timeout: Another name for ``join_timeout``, which wins if both are given.
        last_call_timeout: How long the first generation waits for more nodes when the
            minimum is there. The maximum ends it at once; a restart has none.
        scale_debounce: How long no node must have come before the job forms anew for
            those that have, so that nodes which come one after the other cost it one
            restart of its workers. When the maximum is there it waits no more.
        scale_interval: How long it takes at least, since the job has last formed anew
            for nodes that came, before it does so again. What forms it for another
            reason takes in whoever is there.
        scale_hold_limit: For how long at most workers can put off that it forms anew
            for nodes that came (`elaunch.worker.hold_scaling`); with 0 they can't.
        close_timeout: How long the coordinator of a finished job waits for the others
            to say goodbye before it cleans up.
        keep_alive_interval: With the next one it gives the lease: a node that is silent
            for so many intervals is lost. With the defaults an outage of ten seconds
            costs nobody its lease, whenever it begins.
        keep_alive_max_attempt: How many intervals of silence are too many.
        lease_ttl: The lease itself, instead of what the two before give.
        reconnect_grace: How long a broken connection may take to come back before its
            node counts as dead.
        node_unit: A generation has a multiple of so many nodes; the others are spares.
        population: How many nodes will ever come, the spares included. Where it is
            given, a job ends as soon as its minimum can't be reached any more.
    """

    join_timeout: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(_positive)
    )
    timeout: float = attrs.field(default=600.0, validator=_positive)
    last_call_timeout: float = attrs.field(default=5.0, validator=_not_negative)
    scale_debounce: float = attrs.field(default=0.0, validator=_not_negative)
    scale_interval: float = attrs.field(default=0.0, validator=_not_negative)
    scale_hold_limit: float = attrs.field(default=600.0, validator=_not_negative)
    close_timeout: float = attrs.field(default=30.0, validator=_positive)
    keep_alive_interval: float = attrs.field(default=5.0, validator=_positive)
    keep_alive_max_attempt: int = attrs.field(default=4, validator=_at_least_one)
    lease_ttl: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(_positive)
    )
    reconnect_grace: float = attrs.field(default=0.5, validator=_not_negative)

    node_unit: int = attrs.field(default=1, validator=_at_least_one)
    population: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_at_least_one)
    )

    @property
    def sees_connections(self) -> bool:
        """Whether the store notices a broken connection, or only a lease that is over.

        For a backend to override.
        """
        return True

    @property
    def join_limit(self) -> float:
        """Seconds a node waits to become a member."""
        return self.timeout if self.join_timeout is None else self.join_timeout

    @property
    def silence_limit(self) -> float:
        """Seconds of silence after which a node is lost: its lease."""
        if self.lease_ttl is not None:
            return self.lease_ttl
        return self.keep_alive_interval * self.keep_alive_max_attempt

    @property
    def fence_grace(self) -> float:
        """Seconds in which a node that has lost its lease must stop its workers.

        It hears of the loss when a fifth of the lease is left; half of that is for the
        kill, and for what is late.
        """
        return self.silence_limit / 10

    @property
    def suspicion(self) -> Suspicion:
        """How a failure that would end the job is told from the loss of a node."""
        if self.sees_connections:
            return Suspicion(1.5 * self.reconnect_grace)
        # Some count a lease in whole seconds, and look at it now and then.
        return Suspicion(1.5 * self.silence_limit + 1.0, asks=True)

    @property
    def timing(self) -> Timing:
        """How long a coordinator waits for what."""
        return Timing(
            last_call=self.last_call_timeout,
            suspicion=self.suspicion,
            scale_debounce=self.scale_debounce,
            scale_interval=self.scale_interval,
            scale_hold_limit=self.scale_hold_limit,
        )

    def complete(self, settings: JobSettings) -> JobSettings:
        """Return a job's settings with what these options add.

        Raises:
            UsageError: If no generation could ever be formed with them.
        """
        settings = attrs.evolve(
            settings, node_unit=self.node_unit, population=self.population
        )
        least, most = settings.min_nodes, settings.max_nodes
        if not settings.fitting(most):
            sizes = f"{least}" if least == most else f"any of {least} to {most}"
            raise UsageError(
                f"a generation can't have {sizes} nodes in units of {self.node_unit}; "
                f"change --nnodes or --rdzv-conf node_unit"
            )
        if self.population is not None and self.population < least:
            raise UsageError(
                f"population {self.population} is less than the {least} nodes that the "
                f"job needs; change --nnodes or --rdzv-conf population"
            )
        return settings
