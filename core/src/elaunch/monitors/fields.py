"""Fields that options of several monitors have."""

from typing import Any

import attrs


SEVERITIES = ("unhealthy", "degraded", "info")


def _check_severity(_: object, field: "attrs.Attribute[str]", value: str) -> None:
    if value not in SEVERITIES:
        words = ", ".join(map(repr, SEVERITIES))
        raise ValueError(f"{field.name!r} is one of {words}, not {value!r}")


def seconds(default: float) -> Any:
    """Return an option of seconds; 0 is one of them."""
    return attrs.field(default=default, validator=attrs.validators.ge(0))


def above(default: float, bound: float) -> Any:
    """Return an option that is above a bound."""
    return attrs.field(default=default, validator=attrs.validators.gt(bound))


def severity_of(default: str) -> Any:
    """Return an option that says how bad a finding is."""
    return attrs.field(default=default, validator=_check_severity)
