"""Tries a fault: does any suite notice? Tests that notice nothing prove nothing."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs


ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "core" / "src" / "elaunch"

SUITES: Mapping[str, str] = {
    "planner": "core/tests/test_planner.py",
    "ranks": "core/tests/test_ranks.py",
    "roster": "core/tests/test_roster.py",
    "coordinator": "core/tests/test_coordinator.py",
    "machine": "core/tests/test_machine.py",
    "stay": "core/tests/test_stay.py",
    "members": "core/tests/test_members.py",
    "office": "core/tests/test_office.py",
    "takeover": "core/tests/test_takeover.py",
    "notices": "core/tests/test_notices.py",
    "failure_table": "core/tests/test_failure_table.py",
    "restart_budget": "core/tests/test_restart_budget.py",
    "replay": "core/tests/test_replay.py",
    "policy": "core/tests/test_policy.py",
    "charging": "core/tests/test_charging.py",
    "holding": "core/tests/test_holding.py",
    "exclusions": "core/tests/test_exclusions.py",
    "vitals": "core/tests/test_job_vitals.py",
    "rendezvous": "core/tests/simulated/test_memory_rendezvous.py",
    "silence": "core/tests/test_silence.py",
    "blocks": "core/tests/test_blocks.py",
    "pace": "core/tests/test_pace.py",
    "waiting": "core/tests/test_waiting.py",
    "monitors": "core/tests/test_core_monitors.py",
    "channel": "core/tests/test_channel.py",
    "worker_channel": "core/tests/test_worker_channel.py",
    "endpoint": "core/tests/test_endpoint_service.py",
    "preflight": "core/tests/test_preflight_command.py",
    "fitness": "core/tests/simulated/test_fitness.py",
}
"""The tests that may notice a fault."""

SIMULATION = "simulation"
ALL = (*SUITES, SIMULATION)
"""Who is asked about a fault that is not noticed where it should be, in this order."""

SEEDS = 210
"""How many simulated jobs get a chance to notice a fault that no unit test does."""

TEST_TIMEOUT = 30
"""Seconds that one unit test may take: a fault often shows in that nothing happens."""

LIMIT = 300.0
"""Seconds that all simulated jobs may take, likewise, or all tests of a suite."""

PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout")
"""What the suites need. To look for more takes longer than most of them."""


class InvalidMutantError(Exception):
    """A fault that can't be tried: its result would mean nothing."""


@attrs.frozen(kw_only=True)
class Mutant:
    """A deliberate fault.

    Attributes:
        name: What the faulty code does.
        file: The file it is in, below the core's package.
        old: The text that is replaced. It occurs exactly once.
        new: What replaces it.
        promise: What does not hold any more.
        suite: Which suite notices, one of `ALL`. It is asked first.
    """

    name: str
    file: str
    old: str
    new: str
    promise: str
    suite: str

    @property
    def module(self) -> str:
        """Name of the module that is faulty."""
        return "elaunch." + self.file.removesuffix(".py").replace("/", ".")

    def apply(self, source: str) -> str:
        """Return the faulty source.

        Raises:
            InvalidMutantError: If it is not clear what to replace.
        """
        count = source.count(self.old)
        if count != 1:
            raise InvalidMutantError(
                f"{self.name!r}: its old text occurs {count} times in {self.file}"
            )
        return source.replace(self.old, self.new)


@attrs.frozen
class Catch:
    """What noticed a fault.

    Attributes:
        suite: The first suite that did.
        by: The test, or family and seed of the simulated job.
    """

    suite: str
    by: str


@attrs.frozen
class Verdict:
    """What came of a fault.

    Attributes:
        mutant: The fault.
        catch: What noticed it, `None` if nothing did.
        seconds: How long that took.
    """

    mutant: Mutant
    catch: Catch | None
    seconds: float

    @property
    def expected(self) -> bool:
        """Whether the suite noticed it that should."""
        return self.catch is not None and self.catch.suite == self.mutant.suite

    def render(self) -> str:
        """Return it as a row of the table."""
        by = "SURVIVED"
        if self.catch:
            by = f"{self.catch.suite}: {self.catch.by}"
            if not self.expected:
                by += f" (EXPECTED: {self.mutant.suite})"
        return (
            f"{self.mutant.name:<48} {self.mutant.promise:<64} {self.seconds:>5.1f} s"
            f"  {by}"
        )


def attempt(mutant: Mutant, seeds: int = SEEDS, suites: Iterable[str] = ALL) -> Verdict:
    """Try a fault on a copy of the core's source."""
    began = time.monotonic()
    names = sorted(suites, key=lambda name: name != mutant.suite)
    with tempfile.TemporaryDirectory(prefix="elaunch-mutant-") as folder:
        copy = _copy_to(Path(folder))
        file = copy / mutant.file
        file.write_text(mutant.apply(file.read_text()))
        _check_import(Path(folder), mutant.module)
        catch = _first_catch(Path(folder), names, seeds)
    return Verdict(mutant, catch, time.monotonic() - began)


def attempt_none(names: Sequence[str], seeds: int = SEEDS) -> Catch | None:
    """Try a copy without a fault, in which nothing must be noticed."""
    with tempfile.TemporaryDirectory(prefix="elaunch-mutant-") as folder:
        _copy_to(Path(folder))
        _check_import(Path(folder), "elaunch")
        return _first_catch(Path(folder), names, seeds)


def _copy_to(folder: Path) -> Path:
    unwanted = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(PACKAGE, folder / "elaunch", ignore=unwanted)


def _first_catch(folder: Path, names: Sequence[str], seeds: int) -> Catch | None:
    catches = (
        _simulation(folder, seeds) if name == SIMULATION else _tests(folder, name)
        for name in names
    )
    return next(filter(None, catches), None)


def _check_import(folder: Path, module: str) -> None:
    """Make sure that the copy is what the suites will see, and that it can be."""
    code = f"import {module}; print({module}.__file__)"
    ended = _run(folder, "-c", code)
    if ended is None or ended.returncode or not ended.stdout.startswith(str(folder)):
        seen = ended and (ended.stdout + ended.stderr).strip()
        raise InvalidMutantError(f"{module} is not imported from its copy: {seen}")


def _tests(folder: Path, suite: str) -> Catch | None:
    ended = _run(
        folder,
        *("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"),
        *(word for plugin in PLUGINS for word in ("-p", plugin)),
        *("--timeout", str(TEST_TIMEOUT), SUITES[suite]),
    )
    if ended is None:
        raise InvalidMutantError(f"{suite!r} takes more than {LIMIT:g} s")
    if ended.returncode == 0:
        return None
    noticed = re.search(r"^(?:FAILED|ERROR) \S+?::(\S+)", ended.stdout, re.MULTILINE)
    if ended.returncode != 1 or noticed is None:
        raise InvalidMutantError(f"{suite!r} can't run: {ended.stdout[-2000:]}")
    return Catch(suite, noticed[1])


def _simulation(folder: Path, seeds: int) -> Catch | None:
    ended = _run(folder, str(ROOT / "tests" / "hunt.py"), str(seeds))
    if ended is None:
        return Catch(SIMULATION, f"no end within {LIMIT:g} s")
    if ended.returncode == 0:
        return None
    if not ended.stdout:
        raise InvalidMutantError(f"the simulation can't run: {ended.stderr[-2000:]}")
    return Catch(SIMULATION, ended.stdout.strip())


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    """Run Python with the copy before what is installed; `None` if it has no end."""
    variables = {
        "PYTHONPATH": str(folder),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # `hypothesis` then tries the same each time, and no example from last time.
        "CI": "1",
    }
    try:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None


def try_all(
    mutants: Sequence[Mutant], seeds: int, suites: Iterable[str]
) -> Iterator[Verdict]:
    """Try faults on all cores; yield what came of them, in order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(lambda mutant: attempt(mutant, seeds, suites), mutants)


def main(
    mutants: Sequence[Mutant],
    argv: Sequence[str] | None = None,
    suites: Iterable[str] = ALL,
) -> int:
    """Try them; return 1 if one is not noticed as expected."""
    parser = argparse.ArgumentParser(prog="python tests/mutants.py")
    parser.add_argument("names", nargs="*", help="only those with this in their names")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many simulations")
    args = parser.parse_args(argv)
    chosen = [
        mutant
        for mutant in mutants
        if not args.names or any(part in mutant.name for part in args.names)
    ]
    began = time.monotonic()
    asked = sorted({mutant.suite for mutant in chosen})
    false_alarm = attempt_none(asked, args.seeds)
    if false_alarm:
        print(f"without any fault: {false_alarm.suite}: {false_alarm.by}")
        return 1
    verdicts = []
    for verdict in try_all(chosen, args.seeds, suites):
        print(verdict.render(), flush=True)
        verdicts.append(verdict)
    survivors = sum(verdict.catch is None for verdict in verdicts)
    unexpected = sum(not verdict.expected for verdict in verdicts) - survivors
    print(
        f"{len(verdicts)} mutants, {survivors} survived, {unexpected} noticed by "
        f"another suite than expected, {time.monotonic() - began:.0f} s"
    )
    return 1 if survivors or unexpected else 0
