"""A value of a setting, and who says so."""

import enum
from typing import Any

import attrs


class Origin(enum.IntEnum):
    """Kinds of sources; the lower one counts."""

    FLAG = 0
    VARIABLE = 1
    FILE = 2
    SCHEDULER = 3
    DEFAULT = 4


@attrs.frozen
class Found:
    """One value and who says so.

    Attributes:
        value: The value.
        source: Who says so, for users.
        origin: Its kind.
        place: Of several sources of this kind, which one; the lower counts.
    """

    value: Any
    source: str
    origin: Origin
    place: int = 0
