"""Text that any encoding takes.

What workers and file systems say may be no text: Python keeps such bytes as lone
surrogates, which UTF-8 and JSON refuse.
"""

from collections.abc import Mapping
from typing import Any


def encodable(text: str) -> str:
    r"""Return a text with each lone surrogate written as ``\udcxx``."""
    if text.isascii():  # as nearly all are
        return text
    return text.encode(errors="backslashreplace").decode()


def all_encodable(value: Any) -> Any:
    """Return plain data, as JSON knows it, with all its texts encodable."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, Mapping):
        return {all_encodable(key): all_encodable(val) for key, val in value.items()}
    if isinstance(value, list | tuple):
        return [all_encodable(item) for item in value]
    return value
