"""The mutants are faults of today's source, and the harness tells who notices them."""

import re
from pathlib import Path

import attrs
import pytest
from mutants import MUTANTS
from mutation import (
    ALL,
    PACKAGE,
    SUITES,
    Catch,
    InvalidMutantError,
    Mutant,
    Verdict,
    attempt,
    main,
)


ROOT = Path(__file__).parent.parent
LINES = re.MULTILINE
HARMLESS = Mutant(
    name="say it in other words",
    file="membership/ranks.py",
    old="Who gets which rank",
    new="Which rank is whose",
    promise="none",
    suite="ranks",
)


def named(name: str) -> Mutant:
    return next(mutant for mutant in MUTANTS if mutant.name == name)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_a_fault_of_todays_source(mutant: Mutant) -> None:
    source = (PACKAGE / mutant.file).read_text()
    faulty = mutant.apply(source)

    assert faulty != source
    compile(faulty, mutant.file, "exec")


def test_each_mutant_is_another_one() -> None:
    names = [mutant.name for mutant in MUTANTS]
    faults = {(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}

    assert len(set(names)) == len(faults) == len(MUTANTS)


def test_the_suites_are_there() -> None:
    assert {mutant.suite for mutant in MUTANTS} <= set(ALL)
    assert all((ROOT / path).exists() for path in SUITES.values())


def test_the_documentation_tells_who_notices_what() -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| `(\S+)` \| ([^|]+) \| (\w+) \|$", page, LINES)

    assert rows == [(m.name, m.file, m.promise, m.suite) for m in MUTANTS]


@pytest.mark.parametrize(
    "name", ["count a departure as a restart", "seal before the places are written"]
)
def test_a_fault_is_noticed_where_it_should_be(name: str) -> None:
    """One by the tests of a module, one by the simulation."""
    verdict = attempt(named(name), seeds=7)

    assert verdict.expected, verdict.render()


def test_what_nobody_notices_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """One suite is enough: the others would run in the very same way."""
    status = main([HARMLESS], [], suites=["ranks"])

    assert status == 1
    assert "SURVIVED" in capsys.readouterr().out


def test_what_another_suite_notices_is_told() -> None:
    verdict = Verdict(HARMLESS, Catch("planner", "test_any"), 1)

    assert not verdict.expected
    assert "planner: test_any (EXPECTED: ranks)" in verdict.render()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"old": "nobody wrote this"}, "occurs 0 times"),
        ({"old": "rank"}, "times in membership/ranks.py"),
        ({"new": '"""\nimport nothing_of_this_name\n"""'}, "is not imported from its"),
    ],
)
def test_a_fault_that_cant_be_tried_is_no_result(
    changes: dict[str, str], why: str
) -> None:
    with pytest.raises(InvalidMutantError, match=why):
        attempt(attrs.evolve(HARMLESS, **changes), seeds=1)
