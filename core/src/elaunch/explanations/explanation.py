"""What was read from stderr, as values."""

import attrs


@attrs.frozen
class Explanation:
    """What the last stderr lines of a process say about its end.

    Attributes:
        message: What went wrong in one line, for example ``ValueError: boom``.
        location: ``file:line`` of the innermost frame, or empty.
        traceback: The lines of the error itself, or empty.
        context: What lies behind the message in one line, for example the first
            exception of a chain, or empty.
        exception: Name of the exception's class, as its language writes it, or empty.
    """

    message: str = ""
    location: str = ""
    traceback: str = ""
    context: str = ""
    exception: str = ""


@attrs.frozen
class Found:
    """An explanation, and the line at which it begins.

    Attributes:
        line: Index of its first line.
        explanation: What it says.
        general: Whether it says no more than that the process ended, so that what came
            before it says why.
    """

    line: int
    explanation: Explanation
    general: bool = False


def described(message: str, location: str) -> str:
    """Return an error and its place in one line."""
    return f"{message} at {location}" if location else message
