"""Where workers run and what each of them is told of its place."""

import os
import re
from collections.abc import Callable

import pytest
from agents import Launch

from elaunch import LaunchConfig, elastic_launch


Script = Callable[[str], str]

SAY = """
import os, sys
print("CPUs", *sorted(os.sched_getaffinity(0)))
print("threads", os.environ["OMP_NUM_THREADS"])
"""

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system binds no process"
)


@needs_affinity
def test_workers_share_no_cpu(launch: Launch, script: Script) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this machine allows one CPU only")
    agent = launch(
        *("-v", "--standalone", "--numa-binding", "cores", "--nproc-per-node", "2"),
        script(SAY),
        OMP_NUM_THREADS="",
    )

    assert agent.wait() == 0
    said = {m[1]: m[2] for m in agent.wait_for(r"\[(\d)\] CPUs (.*)", 2)}
    first, second = set(said["0"].split()), set(said["1"].split())
    assert first
    assert second
    assert not first & second
    threads = {m[1]: m[2] for m in agent.wait_for(r"\[(\d)\] threads (.*)", 2)}
    assert threads == {"0": str(len(first)), "1": str(len(second))}
    agent.wait_for(r"--numa-binding cores: local rank 0: CPUs .*, OMP_NUM_THREADS")


@needs_affinity
def test_too_few_cores_are_told_in_one_line_and_fail_nothing(
    launch: Launch, script: Script
) -> None:
    workers = len(os.sched_getaffinity(0)) + 1
    agent = launch(
        *("--standalone", "--numa-binding", "cores", "--max-restarts", "1"),
        *("--nproc-per-node", str(workers)),
        script("import os\nif os.environ['ELAUNCH_GENERATION'] == '1': exit(1)"),
    )

    assert agent.wait() == 0
    assert len([line for line in agent.lines if "--numa-binding" in line]) == 1


def test_each_worker_gets_its_own_words(launch: Launch, script: Script) -> None:
    worker = script("import os, sys; print(sys.argv[1:], os.environ['OUT'])")
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--env", "OUT={role}-{rank}"),
        *(worker, "--log={rank}/{world_size}", "{{rank}}", '{"rank": 1}'),
    )

    assert agent.wait() == 0
    for rank in (0, 1):
        words = [f"--log={rank}/2", "{rank}", '{"rank": 1}']
        assert f"[{rank}] {words} default-{rank}" in agent.lines


def test_each_virtual_local_rank_sees_one_device(
    launch: Launch, script: Script
) -> None:
    worker = script(
        "import os, sys; e = os.environ; print(e['LOCAL_RANK'], "
        "e['LOCAL_WORLD_SIZE'], e['CUDA_VISIBLE_DEVICES'], sys.argv[1])"
    )
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--virtual-local-rank"),
        *(worker, "{local_rank}"),
        CUDA_VISIBLE_DEVICES="4,GPU-1a",
    )

    assert agent.wait() == 0
    assert {"[0] 0 2 4 0", "[1] 0 2 GPU-1a 1"} <= set(agent.lines)


def test_a_missing_device_is_told_before_anything_starts(
    launch: Launch, script: Script
) -> None:
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--virtual-local-rank"),
        script("print('ran')"),
        CUDA_VISIBLE_DEVICES="4",
    )

    assert agent.wait() == 2
    (line,) = agent.lines
    assert "local rank 1 has no device, since CUDA_VISIBLE_DEVICES is '4'" in line


@pytest.mark.parametrize(
    ("flags", "inherited", "told"),
    [
        ((), "3", "3: the environment"),
        (("--threads", "5"), "3", "5: --threads"),
        (("--env", "OMP_NUM_THREADS=4"), "3", "4: --env"),
        ((), "", r"(\d+): \1 CPUs / 1 worker"),
    ],
)
def test_one_line_tells_the_number_of_threads_and_why(
    launch: Launch, script: Script, flags: tuple[str, ...], inherited: str, told: str
) -> None:
    worker = script("import os; print('got', os.environ['OMP_NUM_THREADS'])")
    agent = launch("-v", "--standalone", *flags, worker, OMP_NUM_THREADS=inherited)

    assert agent.wait() == 0
    (line,) = [line for line in agent.lines if "OMP_NUM_THREADS" in line]
    assert re.search(rf": OMP_NUM_THREADS is {told}$", line)
    (got,) = agent.wait_for(r"^got (\d+)$")
    assert f" is {got[1]}: " in line


def read_place(_: int) -> tuple[str, str]:
    return os.environ["LOCAL_RANK"], os.environ["PLACE"]


def test_functions_have_the_same_environment() -> None:
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        env={"PLACE": "{rank} of {world_size}"},
        virtual_local_rank=True,
        numa_binding="node",
    )

    assert elastic_launch(config, read_place)(1) == {
        0: ("0", "0 of 2"),
        1: ("0", "1 of 2"),
    }
