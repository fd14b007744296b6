"""From the last stderr lines to one explanation."""

import re
from collections.abc import Sequence

import attrs

from elaunch.explanations.explanation import Explanation, Found, described
from elaunch.explanations.logged import on_lines_of_their_own
from elaunch.explanations.others import error_in
from elaunch.explanations.python import (
    fatal_error_in,
    group_in,
    syntax_error_in,
    traceback_in,
)
from elaunch.text import without_colours


_READERS = (traceback_in, group_in, syntax_error_in, fatal_error_in, error_in)
_RANK = re.compile(r"^\[rank\d+\]: ?")  # torch.distributed puts it before each line


def explain(stderr_tail: Sequence[str]) -> Explanation:
    """Read what went wrong, and where, from what a process last wrote to stderr.

    Understands what interpreters and run-time libraries print by themselves, so that
    no program needs to be changed to be understood. The last error counts; what is
    written after it (exit hooks, resource warnings) is passed over, unless the error
    was only logged.
    """
    plain = (_RANK.sub("", without_colours(line)) for line in stderr_tail)
    lines = on_lines_of_their_own(plain)
    found = [told for read in _READERS if (told := read(lines)) is not None]
    if not found:
        return Explanation()
    last = max(found, key=lambda one: one.line)
    if last.general:
        return _with_reason(last, [one for one in found if one is not last])
    return last.explanation


def _with_reason(last: Found, others: Sequence[Found]) -> Explanation:
    """Say why a process aborted, if it did; the interpreter only saw that it does."""
    if not others:
        return last.explanation
    reason = max(others, key=lambda one: one.line).explanation
    where = last.explanation.location
    return attrs.evolve(
        reason,
        location=reason.location or where,
        context=reason.context or described("aborted", where),
        traceback="\n".join(
            filter(None, (reason.traceback, last.explanation.traceback))
        ),
    )
