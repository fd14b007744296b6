"""The monitor `timer`."""

import asyncio
import contextlib
import gc
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest

from elaunch import builtin
from elaunch.api import (
    EventName,
    Finding,
    Monitor,
    MonitorParameters,
    Severity,
    WatchedGroup,
    discard,
)
from elaunch.testing import MonitorContract
from elaunch.timer.pipe import PipeReader, is_read, make_pipe
from elaunch.watchdog import TIMER_FILE, TimerOptions, Watchdog


SOON = 60.0

HEAD = (
    "import os, signal, subprocess, sys\n"
    "from elaunch.timer import FileTimerClient, configure, expires\n"
    f"configure(FileTimerClient(os.environ['{TIMER_FILE}']))\n"
)
HANG = "with expires(after=0.1, scope='step'): signal.pause()\n"


@attrs.define(eq=False)
class Told:
    """What was recorded."""

    events: list[tuple[str, dict[str, object]]] = attrs.field(factory=list)

    def __call__(self, name: EventName, /, **metadata: object) -> None:
        self.events.append((name.value, metadata))


class TestContract(MonitorContract):
    @pytest.fixture
    def monitor(self) -> Monitor:
        return Watchdog(discard)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def watchdog(told: Told) -> Watchdog:
    return Watchdog(told)


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def start(
    stack: contextlib.ExitStack, watchdog: Watchdog, code: str
) -> "subprocess.Popen[str]":
    """Start a worker; it is killed and waited for with the test."""
    worker = subprocess.Popen(
        [sys.executable, "-c", HEAD + code],
        env={**os.environ, **watchdog.environment()},
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.enter_context(worker)
    stack.callback(worker.kill)
    return worker


@contextlib.asynccontextmanager
async def findings(
    watchdog: Watchdog, *workers: "subprocess.Popen[str]"
) -> AsyncIterator[AsyncIterator[Finding]]:
    watching = watchdog.watch(
        WatchedGroup(pids={n: worker.pid for n, worker in enumerate(workers)})
    )
    async with contextlib.aclosing(watching), asyncio.timeout(SOON):
        yield watching


@pytest.mark.asyncio
async def test_who_holds_an_expired_timer_is_told_of_and_then_killed(
    watchdog: Watchdog, told: Told, stack: contextlib.ExitStack
) -> None:
    fine = start(stack, watchdog, "with expires(after=3600): signal.pause()")
    hangs = start(stack, watchdog, HANG)
    async with findings(watchdog, fine, hangs) as watching:
        finding = await anext(watching)
        assert hangs.poll() is None  # told first, so that this is the root cause
        following = asyncio.ensure_future(anext(watching))
        assert await asyncio.to_thread(hangs.wait) == -signal.SIGKILL
        following.cancel()
        await asyncio.wait((following,))

    assert fine.poll() is None
    assert finding.local_rank == 1
    assert finding.severity is Severity.UNHEALTHY
    assert finding.reason == "timer 'step' has expired; its holder is killed by SIGKILL"
    assert [name for name, _ in told.events] == [
        "watchdog.started",
        "timer.expired",
        "timer.killed",
        "watchdog.stopped",
    ]
    facts = told.events[2][1]
    assert facts.pop("expiration_time")
    assert facts == {
        "watchdog_event": "kill worker process",
        "worker_pid": str(hangs.pid),
        "scope_id": "step",
        "signal": "9",
    }


@pytest.mark.asyncio
async def test_a_process_below_a_worker_is_killed_and_the_worker_goes_on(
    watchdog: Watchdog, stack: contextlib.ExitStack
) -> None:
    code = f"subprocess.call([sys.executable, '-c', {HEAD + HANG!r}])"
    worker = start(stack, watchdog, code)
    async with findings(watchdog, worker) as watching:
        finding = await anext(watching)
        following = asyncio.ensure_future(anext(watching))
        assert await asyncio.to_thread(worker.wait) == 0
        following.cancel()
        await asyncio.wait((following,))

    assert finding.local_rank == 0
    assert finding.severity is Severity.DEGRADED
    assert "process" in finding.reason


@pytest.mark.asyncio
async def test_without_a_signal_it_is_only_told(
    watchdog: Watchdog, stack: contextlib.ExitStack
) -> None:
    code = HANG.replace(
        "scope='step'",
        f"scope='step', client=FileTimerClient(os.environ['{TIMER_FILE}'], signal=0)",
    )
    worker = start(stack, watchdog, f"{code}\nsignal.pause()")
    async with findings(watchdog, worker) as watching:
        finding = await anext(watching)

    assert worker.poll() is None
    assert finding.severity is Severity.DEGRADED
    assert finding.reason == "timer 'step' has expired; its holder names no signal"


@pytest.mark.asyncio
async def test_a_worker_can_have_nobody_else_killed(
    watchdog: Watchdog,
    told: Told,
    stack: contextlib.ExitStack,
    caplog: pytest.LogCaptureFixture,
) -> None:
    victims = [start(stack, watchdog, "signal.pause()") for _ in range(2)]
    pids = [0, 1, -1, os.getpid(), os.getppid(), *(victim.pid for victim in victims)]
    code = (
        "import json\n"
        f"with open(os.environ['{TIMER_FILE}'], 'w') as pipe:\n"
        f"    for pid in {pids}:\n"
        "        line = dict(version=1, pid=pid, scope_id='s', expiration_time=1, "
        "signal=9)\n"
        "        pipe.write(json.dumps(line) + '\\n')\n"
        "        pipe.flush()\n"
    )
    worker = start(stack, watchdog, code + HANG)
    async with findings(watchdog, worker) as watching:
        finding = await anext(watching)

    assert finding.evidence["worker_pid"] == str(worker.pid)
    assert [victim.poll() for victim in victims] == [None, None]
    assert [name for name, _ in told.events].count("timer.expired") == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "does not count" in caplog.text


def test_its_pipe_is_private_and_no_file(watchdog: Watchdog) -> None:
    path = Path(watchdog.environment()[TIMER_FILE])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.parent == Path(f"/proc/{os.getpid()}/fd")


@pytest.mark.asyncio
async def test_each_generation_has_a_pipe_that_is_read(
    watchdog: Watchdog, stack: contextlib.ExitStack
) -> None:
    for _ in range(2):
        path = watchdog.environment()[TIMER_FILE]
        assert is_read(path)
        worker = start(stack, watchdog, HANG)
        async with findings(watchdog, worker) as watching:
            finding = await anext(watching)
            assert finding.local_rank == 0
        assert not is_read(path)


def test_its_pipe_goes_with_it(told: Told) -> None:
    watchdog = Watchdog(told)
    path = watchdog.environment()[TIMER_FILE]
    assert is_read(path)
    del watchdog
    gc.collect()

    assert not is_read(path)


def test_a_system_without_proc_has_a_private_directory(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PipeReader, "path", property(lambda self: self._file or "/no"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    watchdog = Watchdog(told)
    path = Path(watchdog.environment()[TIMER_FILE])
    assert path.is_fifo()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    del watchdog
    gc.collect()

    assert [*tmp_path.iterdir()] == []


def create(told: Told, **options: str) -> Monitor:
    provider, *_ = builtin.elaunch_register_monitors()
    parameters = MonitorParameters("job", 0.1, told)
    return provider.create(parameters, TimerOptions(**options))


def test_the_environment_or_an_option_names_the_pipe(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_environment, by_option = str(tmp_path / "one"), str(tmp_path / "two")
    monkeypatch.setenv(TIMER_FILE, by_environment)

    assert create(told).environment() == {TIMER_FILE: by_environment}
    assert create(told, path=by_option).environment() == {TIMER_FILE: by_option}


def test_the_pipe_of_a_launcher_around_it_is_left_to_that(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "theirs")
    make_pipe(path)
    monkeypatch.setenv(TIMER_FILE, path)
    with contextlib.closing(PipeReader(path)):
        own = create(told).environment()[TIMER_FILE]

        assert own != path
        assert is_read(path)


def test_a_place_that_can_not_be_is_told_at_once(told: Told, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        create(told, path=str(tmp_path / "no" / "such"))
