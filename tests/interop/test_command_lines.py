"""Workers that torchrun starts and those that elaunch starts see the same.

`lines.py` has the command lines, and what differs with the reasons.
"""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from lines import ALWAYS, LINES, SOMETIMES
from sides import ELAUNCH, TORCHRUN, Line, clean_environment, differences, run_by
from torchruns import Torchruns


pytestmark = pytest.mark.interop

CPUS = 2
"""Both launchers count CPUs where nobody says how many workers or threads."""


@pytest.fixture(scope="module", autouse=True)
def _same_machine_everywhere() -> Iterator[None]:
    pytest.importorskip("torch", reason="torch is not installed: make test-interop")
    allowed = os.sched_getaffinity(0)
    if len(allowed) < CPUS:
        pytest.skip(f"only {len(allowed)} of {CPUS} CPUs may be used")
    os.sched_setaffinity(0, sorted(allowed)[:CPUS])
    yield
    os.sched_setaffinity(0, allowed)


@pytest.fixture(scope="module", autouse=True)
def _same_signals_everywhere() -> Iterator[None]:
    """Under nohup, say, a launcher would begin with signals that are ignored.

    torchrun handles them nevertheless, and its workers do not ignore them; those of
    elaunch do, as they do without a launcher.
    """
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
    ignored = [n for n in numbers if signal.getsignal(n) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="module")
def torchruns() -> Iterator[Torchruns]:
    with Torchruns(clean_environment()) as torchruns:
        yield torchruns


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_workers_see_the_same_but_for_what_is_listed(
    line: Line, torchruns: Torchruns, tmp_path: Path
) -> None:
    theirs, ours = run_by(line, tmp_path, torchruns.start, ELAUNCH)
    both = f"torchrun:\n{theirs.said}\nelaunch:\n{ours.said}"

    assert (theirs.statuses, ours.statuses) == ({line.status[0]}, {line.status[1]}), (
        both
    )
    if line.status in {(0, 0), (1, 3)}:
        assert ours.workers.keys() == theirs.workers.keys() != set(), both
        assert ours.shown == theirs.shown, both
        found = {
            name: differences(theirs.workers[name], ours.workers[name])
            for name in ours.workers
        }
        assert len(theirs.meeting_points) == len(ours.meeting_points) == 1, both
        assert frozenset().union(*found.values()) == line.differs | ALWAYS.keys(), both
    else:
        assert ours.workers == {}, both


@pytest.mark.parametrize(
    "words",
    [
        "--max-restarts 1 --nproc-per-node 2 probe.py",
        "--run_path --start_method forkserver --nproc_per_node 2 probe.py a",
        "--nproc-per-node two probe.py",
    ],
)
def test_a_torchrun_that_is_forked_does_what_one_does_that_is_started(
    words: str, torchruns: Torchruns, tmp_path: Path
) -> None:
    (line,) = (line for line in LINES if line.words == words)
    forked, started = run_by(line, tmp_path, torchruns.start, TORCHRUN)
    both = f"forked:\n{forked.said}\nstarted:\n{started.said}"

    assert (forked.statuses, forked.shown) == (started.statuses, started.shown), both
    assert forked.workers.keys() == started.workers.keys(), both
    own = {"$MASTER_PORT", "$TORCHELASTIC_ERROR_FILE", "$TORCHELASTIC_RUN_ID"}
    for name, seen in forked.workers.items():
        assert differences(seen, started.workers[name]) == own, both


def test_each_line_is_another_one_and_differs_for_a_reason() -> None:
    names = [line.name for line in LINES]

    assert len(set(names)) == len(names) >= 40
    used = frozenset().union(*(line.differs for line in LINES))
    assert used == SOMETIMES.keys()


def test_all_that_differs_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs/migrating-from-torchrun.md").read_text()
    section = page.split("## What a worker sees differently")[1].split("\n## ")[0]
    words = {"path": "sys.path[0]", "unbuffered": "buffering"}

    for name in ALWAYS.keys() | SOMETIMES.keys():
        what = words.get(name, name.removeprefix("$"))
        assert re.search(rf"(?m)^\|[^|]*{re.escape(what)}", section), name
