"""Rules about output: from options and files, or an error that says what is wrong."""

import re
from pathlib import Path

import pytest

from elaunch.api import Request, Severity, UsageError
from elaunch.monitors.options import OutputOptions
from elaunch.monitors.rules import Rule, rules_in, rules_of


def test_a_file_has_rules_with_all_that_they_can_have(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("""
[[rule]]
pattern = 'step \\d+'
within = 600
every = 60.5
until = "training done"
ranks = "0,4-7"
stream = "stdout"

[[rule]]
name = "loss explodes"
pattern = "loss=(\\\\S+)"
above = 1e3
times = 3
forbidden = true
severity = "degraded"

[[rule]]
pattern = "uncorrectable"
forbidden = true
request = "exclude-node"
""")
    first, second, third = rules_in(path)

    assert (first.name, first.within, first.every) == ("step \\d+", 600, 60.5)
    assert first.until
    assert first.ranks
    assert [rank for rank in range(9) if rank in first.ranks] == [0, 4, 5, 6, 7]
    assert first.streams == 1
    assert (second.name, second.above, second.times) == ("loss explodes", 1000.0, 3)
    assert second.forbidden
    assert second.severity is Severity.DEGRADED
    assert second.request is None
    assert third.request is Request.EXCLUDE_NODE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rule = 1", "has no rules; begin each with a line"),
        ("", "has no rules"),
        ("silence = 3\n[[rule]]\npattern='x'\nevery=1", "and remove 'silence'"),
        ("[[rule]\n", "is no TOML file of rules: "),
        ("[[rule]]\nevery = 1", "rule 1 in .*: it has no 'pattern'"),
        ("[[rule]]\npattern = 'x'", "give 'within' or 'every' in seconds, or"),
        ("[[rule]]\npattern = '('\nevery = 1", "'pattern' is no regular expression"),
        ("[[rule]]\npattern = 'x'\nevry = 1", "no 'evry'; did you mean 'every'"),
        ("[[rule]]\npattern = 'x'\nevery = '1'", "'every' is a number, not '1'"),
        ("[[rule]]\npattern = 'x'\nevery = true", "'every' is a number, not True"),
        ("[[rule]]\npattern = 'x'\nevery = -1", "a number of seconds, not -1"),
        ("[[rule]]\npattern = 'x'\nevery = nan", "a number of seconds, not nan"),
        ("[[rule]]\npattern = 3\nevery = 1", "'pattern' is a text, not 3"),
        ("[[rule]]\npattern = 'x'\nforbidden = 1", "'forbidden' is true or false"),
        ("[[rule]]\npattern = 'x'\nforbidden = true\nevery = 1", "has no 'within'"),
        ("[[rule]]\npattern = 'x'\nevery = 1\nabove = 2", "put it in parentheses"),
        ("[[rule]]\npattern = 'x'\nevery = 1\ntimes = 0", "'times' is 1 or more"),
        ("[[rule]]\npattern = 'x'\nevery = 1\nstream = 'out'", "is one of 'both'"),
        ("[[rule]]\npattern = 'x'\nevery = 1\nseverity = 'bad'", "is one of 'unheal"),
        ("[[rule]]\npattern = 'x'\nevery = 1\nrequest = 'x'", "is one of '', 'no-re"),
        (
            "[[rule]]\npattern='x'\nevery=1\nseverity='info'\nrequest='no-restart'",
            "severity 'info' is no failure; give one of them",
        ),
        ("[[rule]]\npattern = 'x'\nevery = 1\nranks = 'all'", "ranks are numbers"),
        ("[[rule]]\npattern = 'a'\nevery = 1\n[[rule]]\nevery = 1", "rule 2 in"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)

    with pytest.raises(UsageError, match=said) as told:
        rules_in(path)
    assert str(path) in str(told.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        rules_in(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "nothing to look for"),
        ({"within": 3.0, "silence": 1.0}, "'within' is about a pattern"),
        ({"forbidden": True, "rules": "x"}, "'forbidden' is about a pattern"),
        ({"pattern": "x", "every": -1.0}, "every"),
        ({"pattern": "x", "every": 1.0, "stream": "err"}, "'stream' is one of 'both'"),
        ({"silence": 1.0, "severity": "bad"}, "'severity' is one of"),
        (
            {
                "pattern": "x",
                "every": 1.0,
                "severity": "degraded",
                "request": "no-restart",
            },
            "severity 'degraded' is no failure",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        OutputOptions(**options)  # type: ignore[arg-type] # whatever a user may give


def test_options_make_one_more_rule(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("[[rule]]\npattern = 'x'\nevery = 1\n")
    both = rules_of(OutputOptions(rules=str(path), pattern="y", forbidden=True))

    assert [rule.name for rule in both] == ["x", "y"]
    with pytest.raises(UsageError, match=r"^--monitor output: 'pattern' is no regular"):
        rules_of(OutputOptions(pattern="(", forbidden=True))
    with pytest.raises(UsageError, match="give 'within' or 'every'"):
        rules_of(OutputOptions(pattern="x"))


BLOCK = b"one\ntwo loss=3\n\nthree"


@pytest.mark.parametrize(
    ("pattern", "concerns"),
    [
        ("four", False),
        ("loss", True),
        ("^two", True),
        ("one$", True),
        (r"\Athree", True),
        (r"three(?! things)", True),
        (r"(?i)LOSS=(?P<number>\d)", True),
        (r"=\d\s*+$", True),
        (r"(?>=\d\s*)$", True),
        (r"(o)\1", False),
        (r"(e)\1", True),
    ],
)
def test_a_block_is_looked_at_if_one_of_its_lines_matches(
    pattern: str, *, concerns: bool
) -> None:
    rule = Rule(name="r", pattern=re.compile(pattern.encode()), forbidden=True)
    matches = any(rule.pattern.search(line) for line in BLOCK.split(b"\n"))

    assert rule.may_concern(BLOCK) is concerns
    assert matches is concerns


@pytest.mark.parametrize(
    ("above", "below", "number", "counts"),
    [
        (None, None, "many", True),
        (5.0, None, "5.1", True),
        (5.0, None, "5", False),
        (None, 5.0, "-1e3", True),
        (1.0, 5.0, "7", False),
        (5.0, None, "nan", False),
        (5.0, None, "many", False),
        (5.0, None, "inf", True),
    ],
)
def test_numbers_are_compared(
    above: float | None, below: float | None, number: str, *, counts: bool
) -> None:
    rule = Rule(
        name="r",
        pattern=re.compile(rb"loss=(\S+)"),
        forbidden=True,
        above=above,
        below=below,
    )
    match = rule.pattern.search(f"loss={number}".encode())

    assert match
    assert rule.counts(match) is counts
