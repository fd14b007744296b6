"""What stands around a traceback: where it begins, and whether it was the end."""

import re
from collections.abc import Iterable, Sequence


TRACEBACK = "Traceback (most recent call last):"
NOT_THE_END = ("Exception ignored in", "--- Logging error ---", "Exception in thread")
"""What is said before a traceback that ended no process."""

_HEAD = re.compile(
    r"(?P<bar>.*?\S.*?)(?P<head>"
    r"(?:(?<!Original )(?<!Group )Traceback|  \+ Exception Group Traceback)"
    r" \(most recent call last\):)\s*"
)
_MEMBER = re.compile(r"\s*[|+][-+|\s]*(?:Exception Group )?Traceback ")
_RECORD = re.compile(r"\b(?:ERROR|CRITICAL|FATAL)\b")
_HARMLESS = re.compile(r"\b(?:DEBUG|INFO|WARN|WARNING)\b")
_NOISE = re.compile(
    r".*\b\w*Warning: |wandb: |\[[WI]\d|Error in |Exception ignored |"
    # How torch's errors go on.
    r"CUDA kernel errors |For debugging consider |Compile with |frame #\d|"
    r"Exception raised from "
)


def on_lines_of_their_own(lines: Iterable[str]) -> list[str]:
    """Return the lines with the heads of tracebacks on lines of their own.

    A progress bar, or any text without a newline, may stand before one.
    """
    parted: list[str] = []
    for line in lines:
        found = None if _MEMBER.match(line) else _HEAD.fullmatch(line)
        parted.extend(found.group("bar", "head") if found else [line])
    return parted


def final_words(before: str, after: Sequence[str]) -> str:
    """Return what a program said at its end, after a traceback that it only logged.

    Empty for a traceback that was not logged: what follows the interpreter's own is
    the rest of the message, or noise of exit hooks. Empty, too, where the last words
    are noise or a harmless record of a log.

    Args:
        before: The line before the traceback; of one that was logged it is the record.
        after: The lines after it.
    """
    if not _RECORD.search(before):
        return ""
    said = ""
    inside = False  # another traceback
    for line in after:
        if line == TRACEBACK or line.startswith(NOT_THE_END):
            inside = True
        elif line.strip() and not line[0].isspace():
            if not inside and not _NOISE.match(line):
                said = line.strip()
            inside = False
    return "" if _HARMLESS.search(said) else said
