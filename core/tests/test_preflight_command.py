"""The check ``command``: whatever ends it, nothing of it is left."""

import asyncio
import os
import select
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from elaunch.api import PreflightContext, PreflightParameters, PreflightResult
from elaunch.preflights.command import Command
from elaunch.preflights.options import CommandOptions
from elaunch.preflights.process_run import KEPT, ProcessRun
from elaunch.testing import Lifeline, PreflightContract


SOON = 60.0
PARAMS = PreflightParameters(run_id="job-7")


def command(code: str, *args: str) -> Command:
    """Return the check that runs some shell code."""
    words = ["/bin/sh", "-c", textwrap.dedent(code), "sh", *args]
    line = " ".join(f"'{word}'" for word in words)

    return Command(CommandOptions(run=line), PARAMS)


def look(check: Command, context: PreflightContext | None = None) -> PreflightResult:
    return asyncio.run(check.check(context or PreflightContext()))


class TestContract(PreflightContract):
    @pytest.fixture
    def fit(self) -> Command:
        return command("true")

    @pytest.fixture
    def unfit(self) -> Command:
        return command("false")


def test_a_command_that_succeeds_passes_with_its_last_line_as_a_fact() -> None:
    result = look(command("echo looking; echo 8 GPUs are well; echo"))

    assert result.problem == ""
    assert result.facts == {"exitcode": 0, "output": "8 GPUs are well"}


def test_a_command_that_fails_is_told_with_its_last_line_of_either_stream() -> None:
    result = look(command('echo looking; printf "GPU 3\\033[1m: ECC" >&2; exit 4'))

    assert result.problem == "'/bin/sh' ended with 4: GPU 3: ECC"
    assert result.facts["exitcode"] == 4


def test_a_command_that_a_signal_ends_is_told() -> None:
    assert look(command("kill -SEGV $$")).problem == "'/bin/sh' was ended by SIGSEGV"


@pytest.mark.parametrize("run", ["/nowhere/check.sh", "/etc"])
def test_a_command_that_can_not_start_is_told(run: str) -> None:
    problem = look(Command(CommandOptions(run=run), PARAMS)).problem

    assert problem.startswith(f"{run!r} can't be run: ")


def test_much_output_holds_up_nothing_and_its_end_counts() -> None:
    result = look(command('head -c 3000000 /dev/zero | tr "\\0" x; echo; echo last'))

    assert result.facts["output"] == "last"


def test_only_the_end_of_much_output_is_kept() -> None:
    run = ProcessRun(["head", "-c", "100000", "/dev/zero"], os.environ)

    assert len(run.to_end().output) == KEPT


def test_a_long_line_is_cut() -> None:
    result = look(command('head -c 3000 /dev/zero | tr "\\0" x; exit 1'))

    assert result.problem == f"'/bin/sh' ended with 1: {'x' * 200}"


def test_it_knows_the_job_and_why_it_runs_but_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ELAUNCH_RDZV_TOKEN", "secret")
    check = command(
        'echo "$ELAUNCH_RUN_ID $ELAUNCH_PREFLIGHT_GENERATION '
        '$ELAUNCH_PREFLIGHT_ATTEMPT ${ELAUNCH_RDZV_TOKEN-none}"'
    )
    result = look(check, PreflightContext(generation=3, attempt=2))

    assert result.facts["output"] == "job-7 3 2 none"


def test_it_has_no_input() -> None:
    assert look(command("cat; echo end")).facts["output"] == "end"


def test_what_it_leaves_behind_is_killed(tmp_path: Path) -> None:
    code = 'sleep 1000 >/dev/null 2>&1 & echo $! > "$1"'
    file = tmp_path / "pid"
    result = look(command(code, str(file)))

    assert result.problem == ""
    assert gone(int(file.read_text()))


def gone(pid: int) -> bool:
    """Whether a process ends soon: it was killed, which the kernel does in its time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], SOON)[0])
    finally:
        os.close(handle)


async def begun(check: Command, fifo: Path) -> "asyncio.Task[PreflightResult]":
    """Start a check whose command opens a named pipe, and wait until it has."""
    checking = asyncio.create_task(check.check(PreflightContext()))
    await asyncio.to_thread(fifo.read_bytes)
    return checking


@pytest.mark.asyncio
async def test_given_up_it_is_gone_with_all_that_it_started(tmp_path: Path) -> None:
    fifo, file = tmp_path / "fifo", tmp_path / "pids"
    os.mkfifo(fifo)
    check = command(
        'trap "" TERM INT; sleep 1000 & echo $! $$ > "$1"; : > "$2"; wait',
        str(file),
        str(fifo),
    )
    async with asyncio.timeout(SOON):
        checking = await begun(check, fifo)
        checking.cancel()
        await asyncio.wait((checking,))

    assert checking.cancelled()
    assert [gone(int(pid)) for pid in file.read_text().split()] == [True, True]


@pytest.mark.asyncio
async def test_what_left_its_group_with_its_output_does_not_keep_it_from_running_again(
    tmp_path: Path,
) -> None:
    fifo, file = tmp_path / "fifo", tmp_path / "pid"
    os.mkfifo(fifo)
    check = command(
        """
        [ "$ELAUNCH_PREFLIGHT_ATTEMPT" = 1 ] || exit 0
        setsid sh -c "echo \\$\\$ > $1; : > $2; exec sleep 1000" &
        """,
        str(file),
        str(fifo),
    )
    async with asyncio.timeout(SOON):
        checking = await begun(check, fifo)
        try:
            checking.cancel()
            await asyncio.wait((checking,))
            again = await check.check(PreflightContext(attempt=2))
        finally:
            os.kill(int(file.read_text()), signal.SIGKILL)

    assert again.problem == ""


@pytest.mark.asyncio
async def test_what_cant_be_killed_is_not_run_beside_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one that the kernel holds: a signal changes nothing."""
    asked: list[ProcessRun] = []
    kill = ProcessRun.kill
    monkeypatch.setattr("elaunch.preflights.command.KILL_PATIENCE", 0.01)

    def hold(run: ProcessRun) -> None:
        asked.append(run)

    monkeypatch.setattr(ProcessRun, "kill", hold)
    check = command("exec sleep 60")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(check.check(PreflightContext()), 0.01)
    again = await check.check(PreflightContext())
    (run,) = asked
    kill(run)

    assert again.problem.startswith("can't be killed (pid ")
    assert check._last
    await asyncio.wait((check._last[1],), timeout=SOON)
    assert check._last[1].done()


@pytest.mark.asyncio
async def test_given_up_before_it_has_begun_it_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    check = command('echo $$ >> "$1"; exec sleep 1000', str(file))
    async with asyncio.timeout(SOON):
        for turns in range(5):
            checking = asyncio.create_task(check.check(PreflightContext()))
            for _ in range(turns):
                await asyncio.sleep(0)
            checking.cancel()
            await asyncio.wait((checking,))

    pids = file.read_text().split() if file.exists() else []
    assert all(gone(int(pid)) for pid in pids)


@pytest.mark.asyncio
async def test_it_dies_with_its_agent(tmp_path: Path) -> None:
    code = """
        import asyncio, sys
        from elaunch.api import PreflightContext, PreflightParameters
        from elaunch.preflights.command import Command
        from elaunch.preflights.options import CommandOptions

        options = CommandOptions(run=sys.argv[1])
        check = Command(options, PreflightParameters(run_id="job"))
        asyncio.run(check.check(PreflightContext()))
    """
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        inside = f"exec 3>'{lifeline.path}'; echo $$ >&3; sleep 1000; true"
        words = ["-c", textwrap.dedent(code), f'/bin/sh -c "{inside}"']
        agent = await asyncio.create_subprocess_exec(sys.executable, *words)
        try:
            await lifeline.held_by(1)
        finally:
            agent.kill()
            await agent.wait()

        assert await lifeline.released(SOON)


@pytest.mark.parametrize("run", ["'open", " ", '"'])
def test_what_is_no_command_line_is_refused(run: str) -> None:
    with pytest.raises(ValueError, match="'run' is a command line"):
        CommandOptions(run=run)
