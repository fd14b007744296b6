"""Numbers of bytes, as people write and read them."""

import re


_SIZE = re.compile(r"(\d{1,18})\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def size_of(text: str) -> int:
    """Return how many bytes are meant by a text like ``4096``, ``64K`` or ``10MiB``.

    Raises:
        ValueError: If it is something else; says what it should be.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(
            f"a number of bytes, for example 4096, 64K or 10M, not {text!r}"
        )
    return int(found[1]) << _SHIFTS[found[2].lower()]


def readable(size: int) -> str:
    """Return a number of bytes as ``1.5 GiB``."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:  # noqa: PLR2004 - what a KiB is
            return f"{size} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
