"""Workers and the CPUs that they get, on this machine as it is."""

import logging
import os
import sys
from pathlib import Path

import attrs
import pytest
from machines import XEON, write_device

from elaunch.api import (
    BindingSettings,
    CommandEntry,
    FunctionEntry,
    NumaBinding,
    ScriptEntry,
    StartMethod,
    StartSettings,
    WorkerEntry,
    WorkerSpec,
)
from elaunch.testing.groups import exits, started, worker
from elaunch_spawn_local.cpus.binding import Binder
from elaunch_spawn_local.local import LocalSpawner
from elaunch_spawn_local.worker import BoundWorker


THREADS = "OMP_NUM_THREADS"

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system binds no process"
)


def allowed() -> frozenset[int]:
    return frozenset(os.sched_getaffinity(0))


def workers(count: int, **environment: str) -> list[WorkerSpec]:
    return [worker(rank, LOCAL_RANK=str(rank), **environment) for rank in range(count)]


def binder(mode: NumaBinding, root: Path = Path("/")) -> Binder:
    return Binder(mode, root)


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in log.records if r.levelno == logging.WARNING]


def test_unless_it_is_asked_for_nobody_is_bound() -> None:
    specs = workers(2)

    assert LocalSpawner("job")._bind(specs) == [BoundWorker(s) for s in specs]


@pytest.mark.parametrize("mode", NumaBinding)
def test_every_mode_works_here(mode: NumaBinding) -> None:
    bound = binder(mode).bind(workers(2))

    assert [worker.spec.ranks.local_rank for worker in bound] == [0, 1]
    for one in bound:
        assert one.cpus
        assert one.cpus <= allowed()


def test_workers_share_out_all_that_the_agent_may_use() -> None:
    bound = binder(NumaBinding.CORES).bind(workers(2))

    assert (bound[0].cpus or set()) | (bound[1].cpus or set()) == allowed()


def test_a_guessed_number_of_threads_follows_the_cpus() -> None:
    guessed, asked = (
        attrs.evolve(spec, environment={**spec.environment, THREADS: "99"})
        for spec in workers(2)
    )
    guessed = attrs.evolve(guessed, guessed=frozenset({THREADS}))

    bound = binder(NumaBinding.NODE).bind([guessed, asked])

    assert bound[0].spec.environment[THREADS] == str(
        max(1, len(bound[0].cpus or ()) // 2)
    )
    assert bound[1].spec.environment[THREADS] == "99"


def test_too_few_cpus_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    binds = binder(NumaBinding.CORES)
    many = len(allowed()) + 1

    for _ in range(2):
        assert {one.cpus for one in binds.bind(workers(many))} == {allowed()}
    (warning,) = warnings(caplog)
    assert warning.startswith("--numa-binding cores: ")
    assert warning.endswith(f" too few for {many} workers: they share all of them")

    binds.bind(workers(many + 1))
    assert len(warnings(caplog)) == 2


def test_what_the_agent_may_use_is_looked_up_at_each_start() -> None:
    one, *others = allowed()
    if not others:
        pytest.skip("this machine allows one CPU only")
    binds = binder(NumaBinding.CORES)
    before = binds.bind(workers(1))
    os.sched_setaffinity(0, {one})
    try:
        after = binds.bind(workers(1))
    finally:
        os.sched_setaffinity(0, {one, *others})

    both = frozenset({one, *others})
    assert [w.cpus for w in (*before, *after)] == [both, frozenset({one})]


def test_where_nothing_is_told_of_the_machine_workers_are_bound_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (one,) = binder(NumaBinding.NODE, tmp_path).bind(workers(1))

    assert one.cpus == allowed()
    assert "does not tell which CPUs belong together" in warnings(caplog)[0]


def test_a_system_that_binds_nobody_runs_them_unbound(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(os, "sched_setaffinity")
    specs = workers(2)

    assert binder(NumaBinding.NODE).bind(specs) == [BoundWorker(s) for s in specs]
    assert warnings(caplog) == [
        "--numa-binding node: this system binds no process; workers run unbound"
    ]


def test_workers_are_bound_close_to_the_devices_that_they_see(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    even = {cpu for cpu in allowed() & XEON.cpus if cpu % 2 == 0}
    odd = (allowed() & XEON.cpus) - even
    if not (even and odd):
        pytest.skip("needs an even and an odd CPU, since the machine has such nodes")
    root = XEON.write(tmp_path)
    write_device(root, "0000:1b:00.0", "0x10de", "0x030200", node=0)
    write_device(root, "0000:9b:00.0", "0x10de", "0x030200", node=1)

    bound = binder(NumaBinding.NODE, root).bind(workers(2, CUDA_VISIBLE_DEVICES="1,0"))

    assert [one.cpus for one in bound] == [odd, even]
    assert warnings(caplog) == []


def test_a_device_that_is_unknown_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_device(tmp_path, "0000:1b:00.0", "0x10de", "0x030200", node=0)

    binder(NumaBinding.NODE, tmp_path).bind(workers(1, CUDA_VISIBLE_DEVICES="MIG-7"))

    assert "the device of local rank 0 is none that" in warnings(caplog)[0]


# -- real workers ---------------------------------------------------------------------


def say_cpus() -> None:
    sys.stdout.write(f"{sorted(os.sched_getaffinity(0))}\n")


SAY_CPUS = "import os; print(sorted(os.sched_getaffinity(0)))"


def script(tmp_path: Path) -> WorkerEntry:
    path = tmp_path / "say.py"
    path.write_text(SAY_CPUS)
    return ScriptEntry(str(path), (), "say")


def function(_: Path) -> WorkerEntry:
    return FunctionEntry(say_cpus, (), "say")


def program(_: Path) -> WorkerEntry:
    return CommandEntry((sys.executable, "-c", SAY_CPUS), "say")


@pytest.mark.parametrize(
    ("method", "entry"),
    [
        (StartMethod.SPAWN, script),
        (StartMethod.SPAWN, function),
        (StartMethod.SPAWN, program),
        (StartMethod.WARM, script),
        (StartMethod.WARM, function),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.asyncio
async def test_a_worker_runs_on_its_cpus_and_no_others(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    method: StartMethod,
    entry: object,
) -> None:
    assert callable(entry)
    settings = BindingSettings(mode=NumaBinding.CORES)
    spawner = LocalSpawner("job", StartSettings(method=method), settings)
    expected = Binder(NumaBinding.CORES).bind(workers(2))
    async with started(spawner, entry(tmp_path), *workers(2)) as group:
        ended = await exits(group, 2)

    assert [end.exitcode for end in ended.values()] == [0, 0]
    assert sorted(capfd.readouterr().out.splitlines()) == sorted(
        str(sorted(one.cpus or ())) for one in expected
    )
