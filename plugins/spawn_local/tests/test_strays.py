"""Finding and ending the processes that workers started."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from elaunch.testing.groups import SLEEP
from elaunch_spawn_local import strays


PARENT = f"""
import subprocess, sys
argv = [sys.executable, "-c", {SLEEP!r}]
children = [subprocess.Popen(argv), subprocess.Popen(argv, start_new_session=True)]
print(*(child.pid for child in children), flush=True)
{SLEEP}"""

MARK = "ELAUNCH_TEST_MARK"


@pytest.fixture(params=["proc", "psutil"], autouse=True)
def _source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test by /proc where there is one, and as on other systems."""
    if request.param == "psutil":
        monkeypatch.setattr(strays, "_HAS_PROC", False)
        monkeypatch.delattr(os, "pidfd_open", raising=False)
        monkeypatch.setattr(sys, "platform", "other")
    elif not strays._HAS_PROC:
        pytest.skip("this system has no /proc")


@pytest.fixture
def family() -> Iterator[tuple[int, set[int]]]:
    """Yield a process and its two children."""
    environment = {**os.environ, MARK: f"{os.getpid()}/some/path"}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout
        children = {int(pid) for pid in parent.stdout.readline().split()}
        yield parent.pid, children
        parent.kill()
        strays.kill(of(children))


def of(children: set[int]) -> set[psutil.Process]:
    return {psutil.Process(pid) for pid in children}


def pids(processes: set[psutil.Process]) -> set[int]:
    return {process.pid for process in processes}


def test_the_marked_are_found_by_their_environment(
    family: tuple[int, set[int]],
) -> None:
    parent, children = family
    mark = f"{MARK}={os.getpid()}/".encode()

    assert pids(strays.marked(mark, [parent])) == children
    assert pids(strays.marked(mark, [])) == {parent, *children}
    assert strays.marked(b"ELAUNCH_NO_SUCH_MARK=", []) == set()


def test_the_killed_are_gone(family: tuple[int, set[int]]) -> None:
    _, children = family
    found = of(children)

    strays.kill(found)

    # Their parent doesn't reap them: zombies count as gone.
    assert strays.wait_gone(found, 20.0) == set()
    assert strays.alive(found) == set()
    assert {psutil.Process(pid).status() for pid in children} == {psutil.STATUS_ZOMBIE}
    strays.kill(found)


def test_the_living_are_named_at_the_deadline(family: tuple[int, set[int]]) -> None:
    _, children = family
    before = time.monotonic()

    left = strays.wait_gone(of(children), 0.1)

    assert pids(left) == children
    assert time.monotonic() - before >= 0.1


def test_a_successor_in_a_process_id_is_left_alone(
    family: tuple[int, set[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, _ = family
    other = psutil.Process(parent)
    monkeypatch.setattr(psutil.Process, "is_running", lambda _: False)

    assert strays.alive([other]) == set()
    assert strays.wait_gone([other], 20.0) == set()
