"""The preflight port: whether a node is fit to run workers, before it takes a place."""

from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from elaunch.events import Record, Value, discard
from elaunch.provider import Provider, check_options


@attrs.frozen(kw_only=True)
class PreflightOptions:
    """Options that every check has; those of a check are a class that inherits these.

    Attributes:
        timeout: Seconds in which the check must answer; later counts as a problem.
        retry: Seconds after which a check that found a problem looks again.
        repeat: Seconds after which one that found none does, while the node waits for a
            place; 0 for not at all.
        required: Whether a problem keeps the node out; if not it is told, that is all.
    """

    timeout: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
    retry: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    repeat: float = attrs.field(default=300.0, validator=attrs.validators.ge(0))
    required: bool = True


@attrs.frozen(kw_only=True)
class PreflightContext:
    """Why a check is made.

    Attributes:
        generation: The last generation that this node was a member of; 0 before the
            first.
        attempt: How often the check has been made for the next one, this time included.
    """

    generation: int = 0
    attempt: int = 1


@attrs.frozen(kw_only=True)
class PreflightResult:
    """What a check found.

    Attributes:
        problem: Why the node is not fit, in one line; empty if it is.
        facts: What was measured, for the event.
    """

    # Checked, so that what is wrong fails the check that made it, and no recorder.
    problem: str = attrs.field(default="", validator=attrs.validators.instance_of(str))
    facts: Mapping[str, Value] = attrs.field(
        factory=dict,
        validator=attrs.validators.deep_mapping(
            key_validator=attrs.validators.instance_of(str),
            value_validator=attrs.validators.instance_of(
                (str, int, float, list, type(None))
            ),
        ),
    )


class Preflight(Protocol):
    """Looks whether a node is fit. All checks of a node are made at the same time."""

    @property
    def options(self) -> PreflightOptions:
        """How long it may take, and when it looks again."""

    async def check(self, context: PreflightContext) -> PreflightResult:
        """Look once. What it raises counts as a problem.

        It is cancelled when its time is over, or when nobody waits for it any more. It
        must not hold up the loop: what can block goes to a thread
        (`elaunch.api.BlockingCall`).

        Args:
            context: Why it is asked.
        """


@attrs.frozen(kw_only=True)
class PreflightParameters:
    """What every check is built with.

    Attributes:
        run_id: Id of the job.
        backend: Name of the rendezvous backend.
        endpoint: Where its nodes meet, in the backend's own form.
        log_dir: Directory for the workers' output; empty if none was named.
        record: Told of what the check does itself.
    """

    run_id: str
    backend: str = ""
    endpoint: str = ""
    log_dir: str = ""
    record: Record = attrs.field(default=discard, repr=False)


@attrs.frozen
class NamedPreflight:
    """A check, the name by which it was asked for, and its options."""

    name: str
    preflight: Preflight
    options: PreflightOptions


@attrs.frozen
class PreflightProvider(Provider[PreflightParameters, Preflight]):
    """Declares a check.

    Attributes:
        options: A class that inherits `PreflightOptions`, or its place.
    """

    options: type[PreflightOptions] | str = attrs.field(
        default=PreflightOptions, validator=check_options
    )

    def check_class(self, value: Any) -> None:
        """Check a class of options, which inherits those of every check.

        Raises:
            ValueError: If it breaks the rules.
            TypeError: If it does not inherit them.
        """
        super().check_class(value)
        if not issubclass(value, PreflightOptions):
            raise TypeError(
                f"options of a preflight inherit PreflightOptions; {value.__name__} "
                f"doesn't"
            )
