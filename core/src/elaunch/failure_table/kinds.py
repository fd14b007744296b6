"""What of a failure a row of the table can look at."""

import enum
import re
import signal
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

from elaunch.failures import Ending, ProcessFailure, Request, signal_name
from elaunch.text import suggestion


class Kind(enum.StrEnum):
    """What of a failure a row looks at."""

    EXIT = "exit"
    SIGNAL = "signal"
    EXCEPTION = "exception"
    MESSAGE = "message"
    ENDING = "ending"
    FINDING = "finding"
    REQUEST = "request"


_CODES = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?")
_LAST_CODE = 255


def _codes(value: str) -> range | None:
    if value == "*":
        return range(1, _LAST_CODE + 1)
    found = _CODES.fullmatch(value)
    if not found:
        return None
    codes = range(int(found[1]), int(found[2] or found[1]) + 1)
    return codes if codes and codes[-1] <= _LAST_CODE else None


def _check_exit(value: str) -> str:
    if _codes(value):
        return ""
    return f"exit codes are 0 to 255, a range like 64-78, or '*', not {value!r}"


def _matches_exit(failure: ProcessFailure, value: str) -> bool:
    by_itself = failure.ending is not Ending.UNHEALTHY and failure.exitcode >= 0
    return by_itself and failure.exitcode in (_codes(value) or ())


def _signal(value: str) -> int | None:
    """Return the number of a signal that is named ``SIGKILL``, ``KILL`` or ``9``."""
    if value.isdecimal():
        return int(value) if 0 < int(value) < signal.NSIG else None
    name = value.upper()
    known = signal.Signals.__members__
    found = known.get(name) or known.get(f"SIG{name}")
    return found.value if found else None


def _check_signal(value: str) -> str:
    if value == "*" or _signal(value):
        return ""
    known = {signal_name(number) for number in signal.valid_signals()}
    return f"there is no signal {value!r}{suggestion(value.upper(), known)}"


def _matches_signal(failure: ProcessFailure, value: str) -> bool:
    if failure.ending is Ending.UNHEALTHY or failure.exitcode >= 0:
        return False
    return value == "*" or failure.exitcode == -(_signal(value) or 0)


def _check_pattern(value: str) -> str:
    return "" if value else "a name or a pattern is missing"


def _matches_exception(failure: ProcessFailure, value: str) -> bool:
    """Whether the name fits, with or without the modules before it."""
    name = failure.exception
    short = name.rpartition(".")[2]
    return bool(name) and (fnmatchcase(name, value) or fnmatchcase(short, value))


def _matches_message(failure: ProcessFailure, value: str) -> bool:
    return fnmatchcase(failure.message, value)


def _check_ending(value: str) -> str:
    words = [ending.value for ending in Ending]
    if value in words:
        return ""
    return f"there is no ending {value!r}{suggestion(value, words)}"


def _matches_ending(failure: ProcessFailure, value: str) -> bool:
    return failure.ending.value == value


def _matches_finding(failure: ProcessFailure, value: str) -> bool:
    found = failure.ending is Ending.UNHEALTHY and failure.monitor
    return bool(found) and fnmatchcase(failure.monitor, value)


def _check_request(value: str) -> str:
    words = [request.value for request in Request]
    if value in words:
        return ""
    return f"there is no request {value!r}{suggestion(value, words)}"


def _matches_request(failure: ProcessFailure, value: str) -> bool:
    return failure.request is not None and failure.request.value == value


CHECKS: Mapping[Kind, Callable[[str], str]] = {
    Kind.EXIT: _check_exit,
    Kind.SIGNAL: _check_signal,
    Kind.EXCEPTION: _check_pattern,
    Kind.MESSAGE: _check_pattern,
    Kind.ENDING: _check_ending,
    Kind.FINDING: _check_pattern,
    Kind.REQUEST: _check_request,
}
"""Says what is wrong with a value, or nothing."""

MATCHERS: Mapping[Kind, Callable[[ProcessFailure, str], bool]] = {
    Kind.EXIT: _matches_exit,
    Kind.SIGNAL: _matches_signal,
    Kind.EXCEPTION: _matches_exception,
    Kind.MESSAGE: _matches_message,
    Kind.ENDING: _matches_ending,
    Kind.FINDING: _matches_finding,
    Kind.REQUEST: _matches_request,
}
