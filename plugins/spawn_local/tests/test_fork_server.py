"""The fork server: what becomes of it and its workers, whoever of them is killed."""

import asyncio
import contextlib
import io
import logging
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from elaunch.api import (
    CommandEntry,
    Ending,
    FunctionEntry,
    ScriptEntry,
    SpawnError,
    StartMethod,
    StartSettings,
    StopSchedule,
    StopStep,
    UsageError,
)
from elaunch.testing.groups import SLEEP, SOON, Steps, exits, started, worker
from elaunch.testing.lifeline import HOLD, Lifeline
from elaunch_spawn_local.fork_server import descendants
from elaunch_spawn_local.fork_server.frames import Frames, pack
from elaunch_spawn_local.fork_server.launch import NAME
from elaunch_spawn_local.local import LocalSpawner
from elaunch_spawn_local.stdio import Stdio


# In a session of its own, without parent, and without the variables of its worker.
DAEMON = f"""
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        lifeline = os.environ["LIFELINE"]
        os.execve({sys.executable!r}, [{sys.executable!r}, "-c", {HOLD + SLEEP!r}],
                  dict(LIFELINE=lifeline))
    os._exit(0)
os.wait()
"""


def python(code: str) -> CommandEntry:
    return CommandEntry((sys.executable, "-c", code), "code")


def content(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def server_of(spawner: LocalSpawner) -> psutil.Process:
    assert spawner._server
    return psutil.Process(spawner._server.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")
@pytest.mark.asyncio
async def test_a_daemon_that_hides_is_killed_with_its_group(tmp_path: Path) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        code = DAEMON + HOLD + SLEEP
        async with started(LocalSpawner("job"), python(code), one) as group:
            pids = set(await lifeline.held_by(2))
            steps = Steps()
            await group.stop(StopSchedule(grace=SOON), steps)

            assert await lifeline.released()
            assert steps.names == [StopStep.SIGNAL, StopStep.KILL]
            assert set(steps.taken[1][2]) == pids - set(group.pids.values())


@pytest.mark.asyncio
async def test_a_killed_server_is_a_failure_and_leaves_nobody(tmp_path: Path) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        spawner = LocalSpawner("job")
        plain = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', "
        code = f"{plain}{HOLD + SLEEP!r}], start_new_session=True)\n{HOLD}{SLEEP}"
        async with started(spawner, python(code), one) as group:
            await lifeline.held_by(2)
            server_of(spawner).kill()
            ended = (await exits(group))[0]
            assert ended.failed
            assert ended.exitcode == -signal.SIGKILL
            lost = "the fork server that ran the workers was killed or has failed"
            assert (ended.message, ended.ending) == (lost, Ending.PARENT_LOST)
            await group.stop(StopSchedule(grace=SOON), Steps())

            assert await lifeline.released()


@pytest.mark.asyncio
async def test_after_a_killed_server_another_serves() -> None:
    spawner = LocalSpawner("job")
    async with started(spawner, python(SLEEP)) as group:
        first = server_of(spawner)
        first.kill()
        await exits(group)
        await group.close()

        again = await spawner.start(python("raise SystemExit(7)"), [worker(0)])

        assert (await exits(again))[0].exitcode == 7
        assert server_of(spawner) != first


@pytest.mark.asyncio
async def test_a_server_that_does_not_answer_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elaunch_spawn_local.group.KILL_LIMIT", 0.1)
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        spawner = LocalSpawner("job")
        async with started(spawner, python(HOLD + SLEEP), one) as group:
            await lifeline.held_by(1)
            server = server_of(spawner)
            server.suspend()
            try:
                await group.stop(StopSchedule(grace=0), Steps())
                assert await lifeline.released()
                assert (await exits(group))[0].failed
            finally:
                server.resume()


@pytest.mark.asyncio
async def test_one_group_at_a_time() -> None:
    spawner = LocalSpawner("job")
    async with started(spawner, python(SLEEP)):
        with pytest.raises(SpawnError, match="still open; close it first"):
            await spawner.start(python(SLEEP), [worker(0)])


@pytest.mark.asyncio
async def test_the_server_ends_with_its_spawner() -> None:
    spawner = LocalSpawner("job")
    async with started(spawner, python("pass")) as group:
        server = server_of(spawner)
        await exits(group)

    assert not server.is_running()


AGENT = f"""
import asyncio, os, sys
from elaunch.api import CommandEntry
from elaunch.testing.groups import worker
from elaunch_spawn_local.local import LocalSpawner

async def main():
    entry = CommandEntry((sys.executable, "-c", {DAEMON + HOLD + SLEEP!r}), "c")
    group = await LocalSpawner("job").start(entry, [worker(0)])
    if os.environ.get("HEIR"):
        if os.fork() == 0:  # it inherits the agent's end of the connection
            os.write(1, b"heir\\n")
            os.read(0, 1)
            os._exit(0)
    await group.next_exit()

asyncio.run(main())
"""


@pytest.mark.parametrize("heir", ["", "1"], ids=["alone", "connection inherited"])
@pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper and pidfds")
@pytest.mark.asyncio
async def test_a_killed_agent_leaves_no_daemon_and_no_file(
    tmp_path: Path, heir: str
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        environment = {
            **os.environ,
            **lifeline.environment,
            "TMPDIR": str(temporary),
            "HEIR": heir,
        }
        agent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", AGENT),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        await lifeline.held_by(2)
        children = psutil.Process(agent.pid).children()
        [server] = [child for child in children if NAME in child.cmdline()]
        if heir:
            assert agent.stdout
            assert await agent.stdout.readline() == b"heir\n"
        agent.kill()

        assert await lifeline.released(SOON)
        await asyncio.to_thread(server.wait, SOON)
        assert content(temporary) == []
        assert agent.stdin
        assert agent.stdout
        agent.stdin.close()  # the heir ends
        await agent.stdout.read()
        await agent.wait()


@pytest.mark.asyncio
async def test_signals_that_stop_a_job_do_not_stop_the_server() -> None:
    """Whoever signals a whole container means the agent, which says goodbye first."""
    spawner = LocalSpawner("job")
    async with started(spawner, python(SLEEP)) as group:
        server = server_of(spawner)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            server.send_signal(number)
        os.kill(group.pids[0], signal.SIGTERM)

        assert (await exits(group))[0].exitcode == -signal.SIGTERM


@pytest.mark.asyncio
async def test_a_worker_has_the_usual_handlers_of_signals(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code = "import signal; print(sorted(n for n in signal.valid_signals() if "
    code += "signal.getsignal(n) not in (0, None)))"
    async with started(LocalSpawner("job"), python(code)) as group:
        await exits(group)
    [worker_line] = capfd.readouterr().out.splitlines()
    plain = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=subprocess.PIPE
    )
    out, _ = await plain.communicate()

    assert worker_line == out.decode().strip()


@pytest.mark.asyncio
async def test_a_worker_inherits_no_descriptor(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code = "import os; print(sorted(map(int, os.listdir('/dev/fd')))[:-1])"
    async with started(
        LocalSpawner("job"), python(code), *map(worker, range(3))
    ) as group:
        await exits(group, 3)

    assert capfd.readouterr().out.splitlines() == ["[0, 1, 2]"] * 3


# -- pieces -----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 4, 1000])
def test_messages_arrive_whole_however_they_are_cut(size: int) -> None:
    messages: list[dict[str, object]] = [
        {"rank": 1, "text": "ü\udcff\n"},
        {},
        {"long": "x" * 2000},
    ]
    data = b"".join([pack(message) for message in messages])
    frames = Frames()

    parts = [data[i : i + size] for i in range(0, len(data), size)]

    assert [m for part in parts for m in frames.feed(part)] == messages


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as process:
        yield process
        process.kill()


def test_descendants_are_killed_and_nobody_else(
    child: "subprocess.Popen[bytes]",
) -> None:
    assert child.pid in descendants.descendants({child.pid})
    assert not descendants.kill(1)
    assert not descendants.kill(os.getppid())
    assert descendants.kill(child.pid)
    assert child.wait(SOON) == -signal.SIGKILL
    assert not descendants.kill(child.pid)
    assert child.pid not in descendants.descendants(set())


def test_a_zombie_does_not_live(child: "subprocess.Popen[bytes]") -> None:
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    if descendants.HAS_PROC:
        assert child.pid not in descendants.descendants(set())


def test_without_the_list_of_children_every_process_is_asked(
    child: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    if not descendants.HAS_PROC:
        pytest.skip("this system has no /proc")
    real = open

    def built_without(path: str, mode: str) -> object:
        if path.endswith("/children"):
            raise FileNotFoundError(path)
        return real(path, mode)

    monkeypatch.setattr("builtins.open", built_without)
    found = descendants.descendants(set())
    monkeypatch.undo()

    assert child.pid in found


def test_without_pidfds_only_children_are_killed(
    child: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)

    assert not descendants.kill(os.getppid())
    assert descendants.kill(child.pid)
    assert child.wait(SOON) == -signal.SIGKILL


# -- refusals ---------------------------------------------------------------------


def call() -> None:
    """A function to start."""


def test_a_program_is_no_fork_of_a_server_with_modules() -> None:
    spawner = LocalSpawner("job", StartSettings(method=StartMethod.WARM))

    with pytest.raises(UsageError, match="is for Python"):
        spawner.prepare(CommandEntry(("true",), "true"))


@pytest.mark.parametrize(
    ("method", "program"),
    [
        (StartMethod.FORK, False),
        (StartMethod.FORK, True),
        (StartMethod.FORKSERVER, True),
    ],
)
@pytest.mark.asyncio
async def test_a_method_of_torchruns_that_is_not_for_scripts_is_told_of_and_spawns(
    method: StartMethod,
    *,
    program: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = tmp_path / "job.py"
    script.write_text("raise SystemExit(7)")
    entry: ScriptEntry | CommandEntry = ScriptEntry(str(script), (), "job.py")
    if program:
        entry = CommandEntry((sys.executable, str(script)), "job.py")
    spawner = LocalSpawner("job", StartSettings(method=method))
    with caplog.at_level(logging.WARNING):
        spawner.prepare(entry)
    try:
        group = await spawner.start(entry, [worker(0)])
        assert (await exits(group))[0].exitcode == 7
    finally:
        await spawner.close()

    (message,) = caplog.messages
    assert message.endswith("'job.py' is started by 'spawn'")


async def refusal(tmp_path: Path, module: str, *, anyway: bool = False) -> str:
    (tmp_path / "mine.py").write_text(module)
    script = tmp_path / "script.py"
    script.write_text("import mine\n")
    settings = StartSettings(
        method=StartMethod.WARM, preload=("mine",), preload_anyway=anyway
    )
    spawner = LocalSpawner("job", settings)
    entry = ScriptEntry(str(script), (), "script.py")
    try:
        group = await spawner.start(entry, [worker(0)])
        assert (await exits(group))[0].exitcode == 0
    except SpawnError as error:
        return str(error)
    finally:
        await spawner.close()
    return ""


@pytest.mark.asyncio
async def test_a_module_that_cant_be_imported_is_named(tmp_path: Path) -> None:
    why = await refusal(tmp_path, "raise ValueError('not today')")

    assert why.startswith(
        "can't preload 'mine' for 'script.py': ValueError: not today; "
    )


@pytest.mark.asyncio
async def test_a_module_that_ends_the_server_is_told(tmp_path: Path) -> None:
    why = await refusal(tmp_path, "import os; os._exit(3)")

    assert "gone before it was ready" in why


@pytest.mark.asyncio
async def test_a_thread_that_remains_is_named(tmp_path: Path) -> None:
    code = "import threading; threading.Thread(target=threading.Event().wait,"
    code += " daemon=True, name='loader of batches').start()"

    assert (
        "what was loaded by --preload mine for 'script.py' does not survive a fork: it "
        "left thread 'loader of batches'; leave "
    ) in await refusal(tmp_path, code)
    assert await refusal(tmp_path, code, anyway=True) == ""


@pytest.mark.asyncio
async def test_a_process_that_remains_is_named(tmp_path: Path) -> None:
    code = "import subprocess, sys"
    code += "; p = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)"

    assert "it left process " in await refusal(tmp_path, code)


@pytest.mark.asyncio
async def test_a_function_that_cant_be_pickled_can_be_forked() -> None:
    lock = asyncio.Lock()
    generator = (number for number in range(3))
    spawner = LocalSpawner("job", StartSettings(method=StartMethod.FORK))

    def consume() -> list[int]:
        assert not lock.locked()
        return list(generator)

    entry = FunctionEntry(consume, (), "consume")
    async with started(spawner, entry, worker(0), worker(1)) as group:
        ended = await exits(group, 2)

    assert [end.value for end in ended.values()] == [[0, 1, 2]] * 2


@pytest.mark.asyncio
async def test_a_forked_function_may_run_a_loop_and_leaves_no_exit_hooks(
    tmp_path: Path,
) -> None:
    import atexit

    def run() -> str:
        return asyncio.run(asyncio.sleep(0, "slept"))

    mark = tmp_path / "ran"
    atexit.register(mark.touch)
    try:
        spawner = LocalSpawner("job", StartSettings(method=StartMethod.FORK))
        async with started(spawner, FunctionEntry(run, (), "run")) as group:
            assert (await exits(group))[0].value == "slept"
    finally:
        atexit.unregister(mark.touch)

    assert not mark.exists()


@pytest.mark.asyncio
async def test_nothing_is_left_of_a_start_that_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spawner = LocalSpawner("job")
    start = asyncio.create_task(spawner.start(python(SLEEP), [worker(0), worker(1)]))
    await asyncio.sleep(0)
    start.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await start
    server = server_of(spawner)

    await spawner.close()

    assert content(tmp_path) == []
    assert not server.is_running()


# -- the unusual ------------------------------------------------------------------

SYS_EXIT = {"x86_64": 60, "aarch64": 93}.get(platform.machine())

# The first thread ends, and the process shows as a zombie; the second one goes on.
HEADLESS = f"""
import ctypes, signal, threading
{HOLD}
threading.Thread(target=threading.Event().wait).start()
ctypes.CDLL(None).syscall({SYS_EXIT}, 0)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or SYS_EXIT is None, reason="needs a system call by number"
)
@pytest.mark.asyncio
async def test_a_process_without_its_first_thread_is_killed(tmp_path: Path) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        start = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', "
        code = f"{start}{HEADLESS!r}], start_new_session=True)\n{HOLD}{SLEEP}"
        async with started(LocalSpawner("job"), python(code), one) as group:
            await lifeline.held_by(2)
            await group.stop(StopSchedule(grace=SOON), Steps())

            assert await lifeline.released()


@pytest.mark.asyncio
async def test_ends_are_heard_where_the_launcher_blocks_signals() -> None:
    code = "import signal; raise SystemExit(len(signal.pthread_sigmask(0, ())))"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGUSR2})
    try:
        async with started(LocalSpawner("job"), python(code)) as group:
            ended = (await exits(group))[0]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    # The worker finds the mask as the launcher had it.
    assert ended.exitcode == 2 + len(before)


@pytest.mark.asyncio
async def test_what_a_preload_has_started_ends_with_a_refusal(tmp_path: Path) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        child = f"import os\nos.environ['LIFELINE'] = {str(lifeline.path)!r}\n{HOLD}"
        code = (
            f"import subprocess, sys\nargv = [sys.executable, '-c', {child + SLEEP!r}]"
        )
        code += "\nsubprocess.Popen(argv, start_new_session=True)"
        code += f"\nopen({str(tmp_path / 'orders')!r}).read()\nraise ValueError"
        os.mkfifo(tmp_path / "orders")
        refused = asyncio.create_task(refusal(tmp_path, code))
        await lifeline.held_by(1)
        await asyncio.to_thread((tmp_path / "orders").write_text, "")

        assert "can't preload 'mine'" in await refused
        assert await lifeline.released()


@pytest.mark.asyncio
async def test_a_preload_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        code = (
            f"import os\nos.environ['LIFELINE'] = {str(lifeline.path)!r}\n{HOLD}{SLEEP}"
        )
        start = asyncio.create_task(refusal(tmp_path, code))
        await lifeline.held_by(1)
        start.cancel()
        async with asyncio.timeout(SOON / 4):
            with contextlib.suppress(asyncio.CancelledError):
                await start

        assert await lifeline.released()


@pytest.mark.asyncio
async def test_a_function_is_forked_whatever_the_streams_are(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def speak() -> str:
        sys.stdout.write("spoken\n")
        sys.stdout.flush()
        sys.stdout = None  # programs do that
        return "value"

    spawner = LocalSpawner("job", StartSettings(method=StartMethod.FORK))
    entry = FunctionEntry(speak, (), "speak")
    with contextlib.redirect_stdout(io.StringIO()):
        async with started(spawner, entry) as group:
            ended = (await exits(group))[0]

    assert (ended.exitcode, ended.value) == (0, "value")
    assert capfd.readouterr().out == "spoken\n"


@pytest.mark.asyncio
async def test_a_copy_of_the_agents_socket_delays_no_end() -> None:
    spawner = LocalSpawner("job")
    async with started(spawner, python("pass")) as group:
        await exits(group)
        assert spawner._server
        copy = os.dup(spawner._server._socket.fileno())
        server = server_of(spawner)
    os.close(copy)

    assert not server.is_running()


@pytest.mark.asyncio
async def test_descriptors_of_a_request_that_waits_are_its_own() -> None:
    """Its caller may give up, and others get the numbers that he closes."""
    spawner = LocalSpawner("job")
    spawner.prepare(python(SLEEP))
    assert spawner._server
    server, process = spawner._server, server_of(spawner)
    await server.open()
    process.suspend()
    try:
        large = {"environment": {"LARGE": "x" * 4_000_000}}
        for number in range(2):  # the first one is under way and fills the socket
            null = os.open(os.devnull, os.O_RDWR)
            stdio = Stdio(null, null, null)
            server.start(number, large, stdio).cancel()
            stdio.close()

        [_, (_, copies)] = server._outgoing
        assert len({os.fstat(copy).st_rdev for copy in copies}) == 1
    finally:
        process.resume()
        process.kill()
        await spawner.close()
