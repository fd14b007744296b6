"""Exceptions as the Python interpreter prints them, and its fatal errors."""

import re
from collections.abc import Sequence

import attrs

from elaunch.explanations.explanation import Explanation, Found, described
from elaunch.explanations.logged import NOT_THE_END, TRACEBACK, final_words


_EXCEPTION = re.compile(r"^(?=[^\W\d]|<lambda>)(?:[\w.]|<locals>|<lambda>)+(?:: .*)?$")
_FRAME = re.compile(r'^\s+File "(?P<file>.+)", line (?P<line>\d+)')
_LINKS = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
_GROUP = re.compile(r"^\s*\+ Exception Group Traceback \(most recent call last\):")
_MARGIN = re.compile(r"^\s*[|+](?:-[+-]*)? ?")
_SYNTAX = re.compile(r"^(?:SyntaxError|IndentationError|TabError): ")
_SYNTAX_LINES = 5
_FATAL = re.compile(r"^Fatal Python error: (?P<what>.+)$")
_THREAD = re.compile(r"^(?:Current thread|Thread) .*\(most recent call first\):")


def class_in(message: str) -> str:
    """Return the class of an exception that is written as ``ValueError: boom``.

    Empty for any other text.
    """
    return message.partition(": ")[0] if _EXCEPTION.match(message) else ""


def traceback_in(lines: Sequence[str]) -> Found | None:
    """Find the exception that ended the process; of a chain, the last one."""
    starts = [i for i, line in enumerate(lines) if line.strip() == TRACEBACK]
    if not starts:
        return None
    # One that ended a thread, or was only logged, counts where there is no other.
    fatal = [i for i in starts if not _said_before(lines, i).startswith(NOT_THE_END)]
    start = (fatal or starts)[-1]
    last = _one(lines[start:])
    first = _first_of_chain(lines, start)
    begin = start if first is None else first
    block = "\n".join([*lines[begin:start], last.traceback])
    end = start + len(last.traceback.splitlines())
    if final := final_words(_said_before(lines, begin), lines[end:]):
        context = described(last.message, last.location)
        return Found(start, Explanation(final, "", block, context))
    if first is None:
        return Found(start, last)
    cause = _one(lines[first:start])
    context = described(cause.message, cause.location)
    return Found(start, attrs.evolve(last, traceback=block, context=context))


def group_in(lines: Sequence[str]) -> Found | None:
    """Find an exception group; its first member is the context."""
    starts = [i for i, line in enumerate(lines) if _GROUP.match(line)]
    if not starts:
        return None
    start = starts[-1]
    inner = [_MARGIN.sub("", line) for line in lines[start + 1 :]]
    whole = _one([TRACEBACK, *inner])
    below = [i for i, line in enumerate(inner) if line.strip() == TRACEBACK]
    member = _one(inner[below[0] :]) if below else Explanation()
    return Found(
        start,
        Explanation(
            whole.message,
            member.location or whole.location,
            "\n".join(lines[start:]),
            described(member.message, member.location),
            whole.exception,
        ),
    )


def syntax_error_in(lines: Sequence[str]) -> Found | None:
    """Find the error of a script that could not be compiled: it has no traceback."""
    for end in range(len(lines) - 1, -1, -1):
        if not _SYNTAX.match(lines[end]):
            continue
        for start in range(end - 1, max(-1, end - _SYNTAX_LINES), -1):
            place = _FRAME.match(lines[start])
            if place:
                where = f"{place['file']}:{place['line']}"
                block = "\n".join(lines[start : end + 1])
                message = lines[end].strip()
                name = class_in(message)
                told = Explanation(message, where, block, exception=name)
                return Found(start, told)
    return None


def fatal_error_in(lines: Sequence[str]) -> Found | None:
    """Find a crash of the interpreter and the innermost frame of its thread."""
    for start in range(len(lines) - 1, -1, -1):
        found = _FATAL.match(lines[start])
        if found:
            where = _first_dumped(lines[start:])
            block = "\n".join(lines[start:])
            told = Explanation(lines[start].strip(), where, block)
            return Found(start, told, general=found["what"].strip() == "Aborted")
    return None


def _one(lines: Sequence[str]) -> Explanation:
    """Read one traceback, which begins with the first line."""
    block = list(lines[:1])
    location = ""
    for line in lines[1:]:
        block.append(line)
        frame = _FRAME.match(line)
        if frame:
            location = f"{frame['file']}:{frame['line']}"
        elif line and not line[0].isspace():
            message = line.strip() if _EXCEPTION.match(line) else ""
            name = class_in(message)
            return Explanation(message, location, "\n".join(block), exception=name)
    return Explanation("", location, "\n".join(block))


def _first_of_chain(lines: Sequence[str], start: int) -> int | None:
    """Return where the chain begins that the traceback at ``start`` ends."""
    first = None
    while True:
        link = _previous_text(lines, start)
        if link is None or lines[link].strip() not in _LINKS:
            return first
        earlier = [i for i in range(link) if lines[i].strip() == TRACEBACK]
        if not earlier:
            return first
        first = start = earlier[-1]


def _previous_text(lines: Sequence[str], index: int) -> int | None:
    return next((i for i in range(index - 1, -1, -1) if lines[i].strip()), None)


def _said_before(lines: Sequence[str], index: int) -> str:
    return lines[index - 1].strip() if index else ""


def _first_dumped(lines: Sequence[str]) -> str:
    threads = [i for i, line in enumerate(lines) if _THREAD.match(line)]
    current = [i for i in threads if lines[i].startswith("Current")]
    for start in (*current, *threads):
        frame = _FRAME.match(lines[start + 1]) if start + 1 < len(lines) else None
        if frame:
            return f"{frame['file']}:{frame['line']}"
    return ""
