"""Values as JSON has them, whatever they are: nothing that a worker tells raises."""

import contextlib
import json
import math
from collections.abc import Mapping


ITEM_LIMIT = 256
"""Characters kept of a value that is no plain one."""

_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":")
).encode


def encoded(value: object) -> str:
    """Return a value as JSON; what JSON does not know is a number, or a text."""
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):
        return _encode(_plain(value))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if not isinstance(value, str | int | float | None):
        # An array of one number has this, too, and others raise whatever they like.
        with contextlib.suppress(Exception):
            value = value.item()  # type: ignore[attr-defined] # numpy's, torch's, jax's
    if isinstance(value, str | int | None) or (
        isinstance(value, float) and math.isfinite(value)
    ):
        return value
    try:
        return str(value)[:ITEM_LIMIT]
    except Exception:  # noqa: BLE001 - a broken __str__ may raise anything
        return type(value).__name__
