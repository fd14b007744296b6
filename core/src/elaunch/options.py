"""Options of backends: from ``key=value`` text to a validated attrs instance."""

import types
import typing
from collections.abc import Mapping
from typing import Any

import attrs

from elaunch.errors import UsageError
from elaunch.text import quoted, suggestion


TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


def parse_pairs(text: str, flag: str) -> dict[str, str]:
    """Read ``key=value,key=value``; a value may contain ``=`` but no comma.

    Raises:
        UsageError: If a part is not a pair, or a key comes twice; names the flag.
    """
    pairs: dict[str, str] = {}
    for part in text.split(",") if text.strip() else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not key or not equals or not value:
            raise UsageError(
                f"{flag}: {part.strip()!r} is not of the form key=value; "
                f"write {flag} key=value,key=value"
            )
        if key in pairs:
            raise UsageError(f"{flag}: {key!r} is given twice")
        pairs[key] = value
    return pairs


def parse_spec(text: str, flag: str) -> tuple[str, dict[str, str]]:
    """Read ``NAME`` or ``NAME:key=value,key=value``.

    Raises:
        UsageError: If the name is empty or the options are malformed.
    """
    name, _, rest = text.partition(":")
    if not name.strip():
        raise UsageError(
            f"{flag}: {text!r} names no backend; write NAME[:key=value,...]"
        )
    return name.strip(), parse_pairs(rest, flag)


def build_options(
    cls: type[attrs.AttrsInstance], given: Mapping[str, Any], owner: str
) -> attrs.AttrsInstance:
    """Build a backend's options from what the user gave.

    Args:
        cls: The attrs class of the options.
        given: Values by key; strings are converted to the type of the field.
        owner: Whose options they are, for messages, for example ``--rdzv-conf``.

    Raises:
        UsageError: If a key is unknown (suggests the nearest), or a value has the
            wrong type or is refused by the class.
    """
    fields = {field.name for field in attrs.fields(cls)}
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in fields:
            raise UsageError(
                f"{owner}: there is no option {key!r}{suggestion(key, fields)} "
                f"(options: {quoted(fields)})"
            )
        values[key] = _convert(value, hints[key], f"{owner}: {key!r}")
    try:
        return cls(**values)
    except ValueError as error:
        raise UsageError(f"{owner}: {error}") from error


def _convert(value: Any, hint: Any, what: str) -> Any:
    choices = typing.get_args(hint) if _is_union(hint) else (hint,)
    if value is None and type(None) in choices:
        return None
    for kind in choices:
        if kind is not type(None):
            return _convert_to(kind, value, what)
    raise UsageError(f"{what}: its type {hint!r} can't be given as text")


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _convert_to(kind: Any, value: Any, what: str) -> Any:
    text = str(value).strip()
    if kind is bool:
        if text.lower() in TRUE | FALSE:
            return text.lower() in TRUE
        raise UsageError(f"{what} is true or false, not {value!r}")
    try:
        return kind(text if isinstance(value, str) else value)
    except (TypeError, ValueError):
        raise UsageError(f"{what} is of type {kind.__name__}, not {value!r}") from None
