"""Options of the monitor `sections`, which is in every run, so they are apart."""

import attrs

from elaunch.monitors.fields import above, seconds, severity_of


SEPARATOR = ";"
"""What separates the limits of sections: a value of an option has no comma."""


def _check_limits(_: object, __: object, value: str) -> None:
    parsed_limits(value)


def parsed_limits(text: str) -> dict[str, float]:
    """Read ``NAME=SECONDS;NAME=SECONDS``; a name may have wildcards.

    Raises:
        ValueError: If it is not of that form.
    """
    limits: dict[str, float] = {}
    for part in filter(None, map(str.strip, text.split(SEPARATOR))):
        name, _, seconds = part.rpartition("=")
        if not name.strip() or not _is_duration(seconds):
            raise ValueError(
                f"'limits' is NAME=SECONDS;NAME=SECONDS, and {part!r} is not of that "
                f"form"
            )
        limits[name.strip()] = float(seconds)
    return limits


def _is_duration(text: str) -> bool:
    try:
        return float(text) >= 0
    except ValueError:
        return False


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SectionsOptions:
    """Options of the monitor ``sections``.

    Attributes:
        limits: Limits by section, as ``NAME=SECONDS;NAME=SECONDS``, before those that
            workers set; a name may have wildcards, the first that fits counts, and 0 is
            no limit.
        outside: Seconds that a worker may be outside of any section, from the end of
            its first one on; 0 for no limit.
        learn: Whether sections without a limit have one that is learned.
        factor: How many times the longest time so far a learned limit is.
        floor: Seconds that a learned limit has at least.
        severity: What a section over its limit is.
    """

    limits: str = attrs.field(default="", validator=_check_limits)
    outside: float = seconds(0.0)
    learn: bool = False
    factor: float = above(5.0, 1)
    floor: float = above(300.0, 0)
    severity: str = severity_of("unhealthy")
