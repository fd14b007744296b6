"""Rules about lines of output: what must appear, must recur, or must not appear."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from elaunch.api import Request, Severity, UsageError
from elaunch.monitors.fields import SEVERITIES
from elaunch.monitors.options import REQUESTS, STREAMS, OutputOptions, check_request
from elaunch.output import RankSet
from elaunch.text import quoted, suggestion


_ACROSS_LINES = re.compile(rb"\\[AZ]|\(\?<?!|\(\?>|[*+?}]\+")
"""Patterns that a block of lines may match otherwise than one of its lines does."""


@attrs.frozen(kw_only=True)
class Rule:
    """A rule about the lines of each worker.

    Attributes:
        name: What it is called.
        pattern: Whatever matches this counts.
        within: Seconds after the start in which a line must match; 0 for no limit.
        every: Seconds after a match in which another must come; 0 for no limit.
        forbidden: Whether no line may match.
        until: What matches this ends the rule; `None` for nothing.
        above: A match counts if the number in its first group is above; `None` for any.
        below: Likewise.
        times: How many matches in a row are one.
        ranks: Global ranks of the workers that it is about; `None` for all.
        streams: 1 for stdout, 2 for stderr, 3 for both.
        severity: What it is if it is broken.
        request: What is asked for then, beyond a restart.
    """

    name: str
    pattern: re.Pattern[bytes]
    within: float = 0.0
    every: float = 0.0
    forbidden: bool = False
    until: re.Pattern[bytes] | None = None
    above: float | None = None
    below: float | None = None
    times: int = 1
    ranks: RankSet | None = None
    streams: int = 3
    severity: Severity = Severity.UNHEALTHY
    request: Request | None = None
    _hints: tuple[re.Pattern[bytes], ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        if not (self.within or self.every or self.forbidden):
            raise ValueError(
                "give 'within' or 'every' in seconds, or 'forbidden' as true"
            )
        if self.forbidden and (self.within or self.every):
            raise ValueError("what is 'forbidden' has no 'within' and no 'every'")
        numeric = self.above is not None or self.below is not None
        if numeric and not self.pattern.groups:
            raise ValueError(
                "'above' and 'below' are about the number in the first group of the "
                "pattern; put it in parentheses"
            )

    @_hints.default
    def _hints_of_patterns(self) -> tuple[re.Pattern[bytes], ...]:
        """Return what finds them in a block of lines; none if that is not sure."""
        either = [each.pattern for each in (self.pattern, self.until) if each]
        if any(_ACROSS_LINES.search(each) for each in either):
            return ()
        return tuple(re.compile(each, re.MULTILINE) for each in either)

    def may_concern(self, lines: bytes) -> bool:
        """Whether any of some lines may matter: most blocks have none that does."""
        hints = self._hints
        return not hints or any(hint.search(lines) for hint in hints)

    def counts(self, match: re.Match[bytes]) -> bool:
        """Whether a match of the pattern is one in the sense of the rule."""
        if self.above is None and self.below is None:
            return True
        try:
            number = float(match[1])
        except (TypeError, ValueError):  # the group took no part, or is no number
            return False
        low = self.above is None or number > self.above
        return low and (self.below is None or number < self.below)


def rules_of(options: OutputOptions) -> list[Rule]:
    """Return the rules that the options of a monitor name.

    Raises:
        UsageError: If one is wrong, or their file can't be read.
    """
    rules = rules_in(Path(options.rules)) if options.rules else []
    if options.pattern:
        told = {
            "pattern": options.pattern,
            "within": options.within,
            "every": options.every,
            "forbidden": options.forbidden,
            "until": options.until,
            "ranks": options.ranks,
            "stream": options.stream,
            "severity": options.severity,
            "request": options.request,
        }
        rules.append(_rule(told, "--monitor output"))
    return rules


def rules_in(path: Path) -> list[Rule]:
    """Read a file of rules.

    Raises:
        UsageError: If it can't be read, or a rule is wrong; names both.
    """
    import tomllib  # few jobs have such a file

    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"can't read the rules for output in {str(path)!r}: {error.strerror}"
        ) from error
    except ValueError as error:  # not TOML, or no text
        raise UsageError(f"{str(path)!r} is no TOML file of rules: {error}") from error
    tables = told.pop("rule", None)
    if told or not isinstance(tables, list) or not tables:
        raise UsageError(
            f"{str(path)!r} has no rules; begin each with a line [[rule]]"
            + (f", and remove {quoted(told)}" if told else "")
        )
    return [
        _rule(table, f"rule {number} in {str(path)!r}")
        for number, table in enumerate(tables, 1)
    ]


_NUMBERS = ("within", "every", "above", "below")
_TEXTS = ("name", "pattern", "until", "ranks", "stream", "severity", "request")
_KEYS = (*_NUMBERS, *_TEXTS, "forbidden", "times")


def _rule(told: Mapping[str, Any], where: str) -> Rule:
    try:
        return _built(told)
    except (ValueError, UsageError) as error:
        raise UsageError(f"{where}: {error}") from error


def _built(told: Mapping[str, Any]) -> Rule:
    for key, value in told.items():
        if key not in _KEYS:
            hint = suggestion(key, _KEYS)
            raise ValueError(f"there is no {key!r}{hint} (keys: {quoted(_KEYS)})")
        _check_type(key, value)
    given = {name: told[name] for name in ("above", "below", "times") if name in told}
    if given.get("times", 1) < 1:
        raise ValueError(f"'times' is 1 or more, not {given['times']}")
    if not told.get("pattern"):
        raise ValueError("it has no 'pattern'")
    for name, words in (
        ("stream", STREAMS),
        ("severity", SEVERITIES),
        ("request", REQUESTS),
    ):
        if told.get(name, words[0]) not in words:
            known = ", ".join(map(repr, words))
            raise ValueError(f"{name!r} is one of {known}, not {told[name]!r}")
    check_request(told.get("request", ""), told.get("severity", SEVERITIES[0]))
    return Rule(
        name=told.get("name") or told["pattern"],
        pattern=_compiled("pattern", told["pattern"]),
        within=_limit(told, "within"),
        every=_limit(told, "every"),
        forbidden=told.get("forbidden", False),
        until=_compiled("until", told["until"]) if told.get("until") else None,
        ranks=RankSet.from_str(told["ranks"]) if told.get("ranks") else None,
        streams={"both": 3, "stdout": 1, "stderr": 2}[told.get("stream", "both")],
        severity=Severity(told.get("severity", "unhealthy")),
        request=Request(told["request"]) if told.get("request") else None,
        **given,
    )


def _check_type(key: str, value: object) -> None:
    kinds: dict[str, tuple[tuple[type, ...], str]] = {
        **dict.fromkeys(_NUMBERS, ((int, float), "a number")),
        **dict.fromkeys(_TEXTS, ((str,), "a text")),
        "times": ((int,), "a whole number"),
        "forbidden": ((bool,), "true or false"),
    }
    types, what = kinds[key]
    if not isinstance(value, types) or (type(value) is bool and bool not in types):
        raise ValueError(f"{key!r} is {what}, not {value!r}")


def _limit(told: Mapping[str, Any], name: str) -> float:
    seconds = float(told.get(name, 0.0))
    if not seconds >= 0:
        raise ValueError(f"{name!r} is a number of seconds, not {seconds:g}")
    return seconds


def _compiled(name: str, text: str) -> re.Pattern[bytes]:
    try:
        return re.compile(text.encode(errors="surrogateescape"))
    except re.error as error:
        raise ValueError(
            f"{name!r} is no regular expression: {text!r}: {error}"
        ) from error
