"""Options of the restart policy ``default``. Without any of them it only counts."""

from collections.abc import Callable
from typing import Any

import attrs
from attrs import validators


def _one_of(*words: str) -> Callable[[Any, "attrs.Attribute[str]", str], None]:
    def check(_: object, field: "attrs.Attribute[str]", value: str) -> None:
        if value not in words:
            known = " or ".join(repr(word) for word in words)
            raise ValueError(f"{field.name!r} is {known}, not {value!r}")

    return check


def _seconds(default: float) -> float:
    field: float = attrs.field(default=default, validator=validators.ge(0.0))
    return field


def _count() -> int | None:
    check = validators.optional(validators.ge(0))
    field: int | None = attrs.field(default=None, validator=check)
    return field


def _cycles() -> int | None:
    check = validators.optional(validators.ge(1))
    field: int | None = attrs.field(default=None, validator=check)
    return field


@attrs.frozen(kw_only=True)
class BudgetOptions:
    """What restarts may cost, and what happens when a budget is spent.

    Of several budgets any that is spent counts.

    Attributes:
        window_restarts: Restarts that the job may have within ``window``; `None` for
            any number.
        window: Seconds for which a restart counts there.
        no_progress: Generations in a row that may fail without that a worker told a
            farther marker (`elaunch.worker.progress`); the last of them ends the job.
        min_uptime: Seconds; where all that failed had run for less, no restart helps.
        quick_failures: How many generations in a row may fail so soon.
        spent: ``fail``, or ``hand-back`` to the scheduler, when one of these budgets of
            the job, or ``max_restarts``, is spent.
        node_restarts: Restarts that failures of one node may cost.
        node_window_restarts: Likewise, within ``node_window``.
        node_window: Seconds for which a restart counts there; `None` for ``window``.
        node_no_progress: Failures of one node in a row between which the job made no
            progress.
        node_spent: ``exclude`` the node, ``fail`` or ``hand-back`` when one of these
            budgets of a node is spent.
        cool_down: Seconds for which an excluded node stays out, twice as many at each
            further time; `None` for good.
        cool_down_max: Most seconds of that, unless ``cool_down`` is more.
        too_few: ``wait`` for other nodes, ``fail`` or ``hand-back`` where an exclusion
            for good leaves too few nodes.
        backoff: Seconds before the first restart of a row.
        backoff_factor: How many times as long each further one of the row waits.
        backoff_max: Most seconds that one waits.
        backoff_reset: Seconds that workers ran, after which a failure begins a new row,
            as progress does, too.
    """

    window_restarts: int | None = _count()
    window: float = attrs.field(default=3600.0, validator=validators.gt(0))
    no_progress: int | None = _cycles()
    min_uptime: float = _seconds(0.0)
    quick_failures: int = attrs.field(default=1, validator=validators.ge(1))
    spent: str = attrs.field(default="fail", validator=_one_of("fail", "hand-back"))
    node_restarts: int | None = _count()
    node_window_restarts: int | None = _count()
    node_window: float | None = attrs.field(
        default=None, validator=validators.optional(validators.gt(0))
    )
    node_no_progress: int | None = _cycles()
    node_spent: str = attrs.field(
        default="exclude", validator=_one_of("exclude", "fail", "hand-back")
    )
    cool_down: float | None = attrs.field(
        default=None, validator=validators.optional(validators.gt(0))
    )
    cool_down_max: float = _seconds(3600.0)
    too_few: str = attrs.field(
        default="wait", validator=_one_of("wait", "fail", "hand-back")
    )
    backoff: float = _seconds(0.0)
    backoff_factor: float = attrs.field(default=2.0, validator=validators.ge(1))
    backoff_max: float = _seconds(300.0)
    backoff_reset: float = _seconds(600.0)
