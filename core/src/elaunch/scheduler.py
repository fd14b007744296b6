"""The scheduler port: what the one who started this process says of the job.

A flag that was left out is filled from the environment of Slurm, MPI, Kubernetes or
PBS. A scheduler only suggests: what a user says always wins.
"""

from collections.abc import Mapping
from typing import Protocol

import attrs

from elaunch.provider import Provider


@attrs.frozen
class Suggestion:
    """A value for one setting.

    Attributes:
        value: The value, as on the command line.
        rule: The variables it was made of, and how where that is not plain.
    """

    value: str
    rule: str


@attrs.frozen(kw_only=True)
class Detected:
    """What a scheduler says of the job.

    Attributes:
        scheduler: Its name, as users write it.
        values: Suggestion for each setting, by its name in ``elaunch run``:
            ``nnodes``, ``node_rank``, ``rdzv_endpoint`` and so on.
        notes: What a user should know if nothing says how many nodes the job has:
            probable mistakes, one a line, with the command that does what is meant.
        problem: Why there can be no values: what was started can't be a job, unless the
            user says how. Empty if there is none.
    """

    scheduler: str
    values: Mapping[str, Suggestion] = attrs.field(factory=dict)
    notes: tuple[str, ...] = ()
    problem: str = ""


class Scheduler(Protocol):
    """Knows the variables of one scheduler."""

    def detect(self, environment: Mapping[str, str]) -> Detected | None:
        """Return what the environment says, or `None` if it is not this scheduler's.

        Quick, and nothing is asked over the network. Variables may be missing, or hold
        anything: what can't be understood is left out.

        Args:
            environment: Environment of the agent.
        """


@attrs.frozen(kw_only=True)
class SchedulerParameters:
    """What every scheduler is built with.

    Attributes:
        host: Name of this host.
    """

    host: str


def _check_markers(_: object, __: object, value: object) -> None:
    if not isinstance(value, tuple) or not value:
        raise ValueError(
            f"markers are a tuple of names of variables, one at least, not {value!r}"
        )


@attrs.frozen
class SchedulerProvider(Provider[SchedulerParameters, Scheduler]):
    """Declares a scheduler.

    Attributes:
        markers: Variables of which one is set where the scheduler started this process.
            Where none is, the scheduler is not built, so nothing is imported.
    """

    markers: tuple[str, ...] = attrs.field(kw_only=True, validator=_check_markers)
