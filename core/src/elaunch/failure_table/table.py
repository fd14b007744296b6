"""Rows of the table, how they are read, and which of them counts."""

import enum
import math
from collections.abc import Sequence

import attrs

from elaunch.errors import UsageError
from elaunch.failure_table.kinds import CHECKS, MATCHERS, Kind
from elaunch.failures import ProcessFailure, root_cause
from elaunch.text import quoted, suggestion


FLAG = "--on-failure"


class Treatment(enum.StrEnum):
    """What follows."""

    RETRY = "retry"
    """A restart, while the budget lasts."""
    FAIL = "fail"
    """The end of the job."""
    EXCLUDE = "exclude"
    """A restart without the node, while the budget lasts."""
    HAND_BACK = "hand-back"
    """The end of the job, whose scheduler is to go on (exit code 93)."""


@attrs.frozen(kw_only=True)
class FailureRow:
    """One row of the table.

    Attributes:
        text: The row as it is written.
        kind: What it looks at.
        values: What that may be, any of these.
        then: What follows.
        most: Of ``retry``: how many such failures are retried; `None` for any number.
        cool_down: Of ``exclude``: seconds for which the node stays out; `None` for what
            the policy says.
    """

    text: str
    kind: Kind
    values: tuple[str, ...]
    then: Treatment
    most: int | None = None
    cool_down: float | None = None

    @classmethod
    def parse(cls, text: str, flag: str = FLAG) -> "FailureRow":
        """Read a row.

        Args:
            text: The row.
            flag: Where it was given, for messages.

        Raises:
            UsageError: If it is malformed, or names what does not exist.
        """
        when, equals, then = (part.strip() for part in text.rpartition("="))
        word, colon, rest = (part.strip() for part in when.partition(":"))
        if not equals or not colon:
            raise UsageError(
                f"{flag}: {text!r} is not of the form WHEN=THEN; write for example "
                f"{flag} exit:3=fail"
            )
        kind = Kind(_word(word, tuple(Kind), f"{flag} {text!r}"))
        values = tuple(value.strip() for value in rest.split(","))
        for value in values:
            if problem := CHECKS[kind](value):
                raise UsageError(f"{flag} {text!r}: {problem}")
        what, _, number = (part.strip() for part in then.partition(":"))
        treatment = Treatment(_word(what, tuple(Treatment), f"{flag} {text!r}"))
        most, cool_down = _number(treatment, number, f"{flag} {text!r}")
        return cls(
            text=text.strip(),
            kind=kind,
            values=values,
            then=treatment,
            most=most,
            cool_down=cool_down,
        )

    def matches(self, failure: ProcessFailure) -> bool:
        """Whether a failure is one that it looks for."""
        return any(MATCHERS[self.kind](failure, value) for value in self.values)


@attrs.frozen
class FailureMatch:
    """A row and the failures of a report that it is about.

    Attributes:
        row: The row.
        failures: The failures, the root cause first if it is one of them.
    """

    row: FailureRow
    failures: tuple[ProcessFailure, ...]


@attrs.frozen
class FailureTable:
    """The rows that users gave; of those that fit a failure the first one counts.

    What a worker or a monitor asks for comes before all else, since it knows why. Of
    several failures of a generation the others follow from the root cause: only
    requests are looked for in all of them.

    Attributes:
        rows: The rows, in the order in which they were given.
    """

    rows: tuple[FailureRow, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str], flag: str = FLAG) -> "FailureTable":
        """Read the rows.

        Raises:
            UsageError: If one is malformed, or names what does not exist.
        """
        return cls(tuple(FailureRow.parse(text, flag) for text in texts))

    def find(self, failures: Sequence[ProcessFailure]) -> FailureMatch | None:
        """Return the row that says what follows; `None` if none does.

        Args:
            failures: Failures of one generation, at least one.
        """
        first = root_cause(failures)
        others = [failure for failure in failures if failure is not first]
        by_request = [row for row in self.rows if row.kind is Kind.REQUEST]
        for row in (*by_request, *REQUESTS):
            asking = tuple(f for f in (first, *others) if row.matches(f))
            if asking:
                return FailureMatch(row, asking)
        for row in self.rows:
            if row.kind is not Kind.REQUEST and row.matches(first):
                return FailureMatch(row, (first,))
        return None


def _word(word: str, words: Sequence[enum.StrEnum], what: str) -> str:
    known = [one.value for one in words]
    if word in known:
        return word
    raise UsageError(
        f"{what}: there is no {word!r}{suggestion(word, known)} "
        f"(there are: {quoted(known)})"
    )


def _number(then: Treatment, number: str, what: str) -> tuple[int | None, float | None]:
    """Read what stands behind a treatment: a number of retries, or a cool-down."""
    if not number:
        return None, None
    if then is Treatment.RETRY and number.isdecimal() and int(number):
        return int(number), None
    if then is Treatment.EXCLUDE and (seconds := _seconds(number)) is not None:
        return None, seconds
    if then is Treatment.RETRY:
        kind = "times, at least 1"
    elif then is Treatment.EXCLUDE:
        kind = "seconds, more than 0"
    else:
        raise UsageError(f"{what}: {then.value!r} takes no number, not {number!r}")
    raise UsageError(f"{what}: {then}:N is a number of {kind}, not {number!r}")


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if seconds > 0 and math.isfinite(seconds) else None


REQUESTS = (
    FailureRow.parse("request:no-restart=fail"),
    FailureRow.parse("request:exclude-node=exclude"),
)
"""What follows from a request, unless users say otherwise."""
