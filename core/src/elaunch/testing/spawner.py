"""What every spawner must do, shown on real processes of this host."""

import asyncio
import signal
import time
from typing import ClassVar

import attrs
import pytest

from elaunch.api import CommandEntry, Spawner, SpawnError, StopSchedule, WorkerSpec
from elaunch.testing.groups import Script, Steps, exits, started, worker
from elaunch.testing.spawner_functions import FunctionTests
from elaunch.testing.spawner_notices import NoticeTests
from elaunch.testing.spawner_output import OutputTests
from elaunch.testing.spawner_stacks import StackTests
from elaunch.testing.spawner_stop import StopTests


def _named(rank: int) -> WorkerSpec:
    """Return a worker that templates can tell from others."""
    return attrs.evolve(worker(rank), names={"rank": str(rank)})


class SpawnerContract(StopTests, NoticeTests, StackTests, OutputTests, FunctionTests):
    """Inherit, override the fixture ``spawner``, and run.

    The spawner is to tell of output to the fixture ``feed``.

    Attributes:
        supports_programs: Whether it starts `CommandEntry`.
    """

    supports_programs: ClassVar[bool] = True

    # -- ends ---------------------------------------------------------------------

    @pytest.mark.asyncio
    async def test_exit_0_is_a_good_end(self, spawner: Spawner, script: Script) -> None:
        """An end tells who ended, and that it is no failure."""
        async with started(spawner, script("pass"), worker(5)) as group:
            ended = (await exits(group))[5]

            assert ended.exitcode == 0
            assert not ended.failed
            assert ended.pid == group.pids[5]
            assert ended.ranks == worker(5).ranks
            assert ended.value is None

    @pytest.mark.asyncio
    async def test_an_exit_code_is_told(self, spawner: Spawner, script: Script) -> None:
        """Exit code 3 is a failure with exit code 3."""
        async with started(spawner, script("raise SystemExit(3)")) as group:
            ended = (await exits(group))[0]

            assert ended.exitcode == 3
            assert ended.failed

    @pytest.mark.asyncio
    async def test_death_by_signal_is_negative(
        self, spawner: Spawner, script: Script
    ) -> None:
        """Death by SIGKILL is exit code -9."""
        code = "import os; os.kill(os.getpid(), 9)"
        async with started(spawner, script(code)) as group:
            ended = (await exits(group))[0]

            assert ended.exitcode == -signal.SIGKILL
            assert ended.failed

    @pytest.mark.asyncio
    async def test_it_is_told_how_long_a_worker_ran(
        self, spawner: Spawner, script: Script
    ) -> None:
        """Policies know by that who failed at the start; not longer than it was."""
        begin = time.monotonic()
        async with started(spawner, script("raise SystemExit(1)")) as group:
            ended = (await exits(group))[0]

            assert ended.uptime is not None
            assert 0 < ended.uptime < time.monotonic() - begin

    @pytest.mark.asyncio
    async def test_each_end_is_told_once(
        self, spawner: Spawner, script: Script
    ) -> None:
        """Three workers end three times, and never again."""
        code = "import os; raise SystemExit(int(os.environ['CODE']))"
        workers = [worker(rank, CODE=str(rank)) for rank in range(3)]
        async with started(spawner, script(code), *workers) as group:
            ended = await exits(group, 3)
            await group.stop(StopSchedule(), Steps())

            assert {rank: end.exitcode for rank, end in ended.items()} == {
                0: 0,
                1: 1,
                2: 2,
            }
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await group.next_exit()

    @pytest.mark.asyncio
    async def test_what_a_recorded_worker_raises_is_told(
        self, spawner: Spawner, script: Script
    ) -> None:
        """The error file that a worker leaves is read: message, place, traceback."""
        code = """
            from elaunch.worker import record

            @record
            def main():
                raise ValueError("no luck")

            main()
        """
        async with started(spawner, entry := script(code)) as group:
            ended = (await exits(group))[0]

            assert ended.exitcode == 1
            assert ended.message == "ValueError: no luck"
            assert ended.location == f"{entry.target}:6"
            assert ended.traceback.startswith("Traceback (most recent call last):")

    # -- environment and output ---------------------------------------------------

    @pytest.mark.asyncio
    async def test_a_worker_gets_its_environment(
        self,
        spawner: Spawner,
        script: Script,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Its own variables, over the agent's, and what each spawner adds."""
        monkeypatch.setenv("FROM_AGENT", "agent")
        monkeypatch.setenv("FROM_BOTH", "agent")
        monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
        code = """
            import os
            names = "FROM_AGENT", "FROM_BOTH", "RANK", "PYTHONUNBUFFERED"
            print(*(os.environ[name] for name in names))
            assert os.path.isdir(os.path.dirname(os.environ["TORCHELASTIC_ERROR_FILE"]))
        """
        workers = [worker(rank, FROM_BOTH="own", RANK=str(rank)) for rank in range(2)]
        async with started(spawner, script(code), *workers) as group:
            ended = await exits(group, 2)

        assert [end.exitcode for end in ended.values()] == [0, 0]
        lines = sorted(capfd.readouterr().out.splitlines())
        assert lines == ["agent own 0 1", "agent own 1 1"]

    @pytest.mark.asyncio
    async def test_a_worker_does_not_get_the_agents_secret(
        self,
        spawner: Spawner,
        script: Script,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """`inherited_environment` says what a worker may see of the agent's own."""
        monkeypatch.setenv("ELAUNCH_RDZV_TOKEN", "a secret of the agents")
        code = "import os; raise SystemExit('ELAUNCH_RDZV_TOKEN' in os.environ)"
        async with started(spawner, script(code)) as group:
            ended = await exits(group)

        assert ended[0].exitcode == 0

    @pytest.mark.asyncio
    async def test_arguments_are_rendered_for_each_worker(
        self,
        spawner: Spawner,
        script: Script,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """Known names in braces become the worker's values, all else stays."""
        entry = script("import sys; print(*sys.argv[1:])")
        entry = attrs.evolve(entry, args=("{rank}.log", "{{rank}}", '{"a": {}}'))
        async with started(spawner, entry, _named(0), _named(1)) as group:
            await exits(group, 2)

        said = sorted(capfd.readouterr().out.splitlines())
        assert said == ['0.log {rank} {"a": {}}', '1.log {rank} {"a": {}}']

    @pytest.mark.asyncio
    async def test_the_words_of_a_program_are_rendered_for_each_worker(
        self, spawner: Spawner, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The same holds for a program of any kind."""
        if not self.supports_programs:
            pytest.skip("this spawner starts no programs")
        entry = CommandEntry(("echo", "{rank}.log", "{{rank}}"), "echo")
        async with started(spawner, entry, _named(0), _named(1)) as group:
            await exits(group, 2)

        said = sorted(capfd.readouterr().out.splitlines())
        assert said == ["0.log {rank}", "1.log {rank}"]

    @pytest.mark.asyncio
    async def test_output_reaches_the_agents_own(
        self,
        spawner: Spawner,
        script: Script,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """Each line has the worker's label; the last one needs no newline."""
        code = """
            import sys
            print("to stdout")
            print("to stderr", file=sys.stderr)
            sys.stdout.write("the last")
        """
        async with started(spawner, script(code), worker(0, label="[0] ")) as group:
            await exits(group)

        captured = capfd.readouterr()
        assert captured.out == "[0] to stdout\n[0] the last\n"
        assert captured.err == "[0] to stderr\n"

    @pytest.mark.asyncio
    async def test_the_last_stderr_lines_are_kept(
        self, spawner: Spawner, script: Script
    ) -> None:
        """An end tells them without the label, oldest first."""
        code = """
            import sys
            for number in range(500):
                print("line", number, file=sys.stderr)
            sys.stderr.write("the last")
        """
        async with started(spawner, script(code), worker(0, label="[0] ")) as group:
            tail = (await exits(group))[0].stderr_tail

        assert tail[-3:] == ("line 498", "line 499", "the last")
        assert len(tail) >= 20

    # -- starting and closing -----------------------------------------------------

    @pytest.mark.asyncio
    async def test_a_missing_program_is_told_and_leaves_nothing(
        self, spawner: Spawner, script: Script
    ) -> None:
        """The error names the program; the spawner goes on to work."""
        if not self.supports_programs:
            pytest.skip("this spawner starts no programs but Python's")
        missing = CommandEntry(("./no-such-program",), "no-such-program")
        with pytest.raises(SpawnError, match="no-such-program"):
            await spawner.start(missing, [worker(0), worker(1)])

        async with started(spawner, script("pass"), worker(0), worker(1)) as group:
            assert [end.exitcode for end in (await exits(group, 2)).values()] == [0, 0]

    @pytest.mark.asyncio
    async def test_closing_twice_is_fine(
        self, spawner: Spawner, script: Script
    ) -> None:
        """The second `close` of a group and of a spawner does nothing."""
        async with started(spawner, script("pass")) as group:
            await exits(group)
            await group.close()
            await group.close()
        await spawner.close()
