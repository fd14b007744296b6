"""Jobs without flags: who started the agents says what they need to know."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import forks
import pytest
from agents import Agent, Launch
from scheduler_environments import (
    HYDRA,
    INDEXED,
    JOB_SET,
    OPEN_MPI_5,
    PBSDSH,
    REPLICA,
    SBATCH,
    SRUN,
    SRUN_8_PER_NODE,
)

from elaunch.schedulers.reading import port_of


DOCS = Path(__file__).parent.parent / "docs"

SHOW = """
import os
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], "node",
      os.environ["GROUP_RANK"], "job", os.environ["ELAUNCH_RUN_ID"], flush=True)
"""

Script = Callable[[str], str]


@pytest.fixture
def job() -> int:
    """Number of a job whose port is free now."""
    for number in range(os.getpid(), os.getpid() + 1000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port_of(number)))
            except OSError:
                continue
            return number
    raise AssertionError("no port is free")


def slurm(job: int, node: int, _: Path) -> dict[str, str]:
    return {
        **SRUN,
        **dict.fromkeys(("SLURM_STEP_NUM_NODES", "SLURM_STEP_NUM_TASKS"), "2"),
        "SLURM_JOB_ID": str(job),
        "SLURM_NODEID": str(node),
        "SLURM_STEP_NODELIST": "localhost,elsewhere",
        "SLURM_GPUS_ON_NODE": "1",
    }


def open_mpi(job: int, node: int, _: Path) -> dict[str, str]:
    return {
        **OPEN_MPI_5,
        "OMPI_COMM_WORLD_RANK": str(node),
        "PMIX_NAMESPACE": f"prterun-localhost-{job - 1}@1",
    }


def pbs(job: int, node: int, folder: Path) -> dict[str, str]:
    file = folder / "nodefile"
    file.write_text("localhost\nlocalhost\nelsewhere\n")
    return {
        **PBSDSH,
        "PBS_JOBID": f"{job}.server",
        "PBS_NODENUM": str(node),
        "PBS_TASKNUM": str(node + 2),
        "PBS_NODEFILE": str(file),
    }


def pytorch_job(job: int, node: int, _: Path) -> dict[str, str]:
    return {
        **REPLICA,
        "WORLD_SIZE": "2",
        "RANK": str(node),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port_of(job)),
        "ELAUNCH_RDZV_ID": "ddp",  # told by the host name of a pod
    }


@pytest.mark.parametrize(
    "environment", [slurm, open_mpi, pbs, pytorch_job], ids=lambda f: f.__name__
)
def test_two_agents_find_each_other_without_a_flag(
    environment: Callable[[int, int, Path], dict[str, str]],
    launch: Launch,
    job: int,
    script: Script,
    tmp_path: Path,
) -> None:
    worker = script(SHOW)
    agents = [launch(worker, **environment(job, node, tmp_path)) for node in (1, 0)]

    assert [agent.wait() for agent in agents] == [0, 0], agents[0].output
    (second,) = agents[0].wait_for(r"rank 1 of 2 node 1 (job .+)$")
    (first,) = agents[1].wait_for(r"rank 0 of 2 node 0 (job .+)$")
    assert first[1] == second[1]


def test_a_node_beyond_those_that_were_asked_for_is_a_spare(
    launch: Launch, job: int, script: Script, tmp_path: Path
) -> None:
    worker = script(
        "import signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n"
        + SHOW
        + "signal.sigwait({signal.SIGUSR1})\n"
    )
    sizes = dict.fromkeys(("SLURM_STEP_NUM_NODES", "SLURM_STEP_NUM_TASKS"), "3")

    def start(node: int) -> Agent:
        environment = {**slurm(job, node, tmp_path), **sizes}
        return launch("--nnodes", "2", worker, **environment)

    first, second = start(0), start(1)
    for rank, agent in enumerate((first, second)):
        agent.wait_for(rf"rank {rank} of 2 node {rank} ")
    third = start(2)
    third.wait_for("waiting as a spare")
    for agent in (first, second):
        for process in agent.workers():
            process.send_signal(signal.SIGUSR1)

    assert [agent.wait() for agent in (first, second, third)] == [0, 0, 0]
    assert "rank" not in [line.split()[0] for line in third.lines]


def test_several_tasks_on_a_node_are_refused_and_can_be_meant(
    launch: Launch, script: Script
) -> None:
    worker = script(SHOW)
    refused = launch(worker, **SRUN_8_PER_NODE)
    meant = launch("--standalone", worker, **SRUN_8_PER_NODE)

    assert refused.wait() == 2
    refused.wait_for("error: srun started 32 tasks on 4 nodes .*--ntasks-per-node=1")
    assert meant.wait() == 0
    meant.wait_for("rank 0 of 1 ")


def test_a_batch_script_without_srun_is_told_of_it_and_runs(
    launch: Launch, script: Script
) -> None:
    environment = {**SBATCH, "SLURM_GPUS_ON_NODE": "1"}
    agent = launch(script(SHOW), **environment)
    quiet = launch("-q", script(SHOW), **environment)

    assert agent.wait() == quiet.wait() == 0
    agent.wait_for("Slurm gave this job 4 nodes .*srun --ntasks-per-node=1 elaunch run")
    assert "Slurm gave" not in quiet.output


def test_a_job_that_a_worker_launches_is_its_own(
    launch: Launch, job: int, script: Script, tmp_path: Path
) -> None:
    worker = script(
        SHOW + "import subprocess, sys\n"
        "if 'INNER' not in os.environ:\n"
        "    inner = [sys.executable, '-m', 'elaunch', 'run', __file__]\n"
        "    sys.exit(subprocess.call(inner, env={**os.environ, 'INNER': '1'}))\n"
    )
    environment = {**slurm(job, 0, tmp_path), "SLURM_STEP_NUM_NODES": "1"}
    environment["SLURM_STEP_NUM_TASKS"] = "1"
    agent = launch(worker, **{**environment, "SLURM_GPUS_ON_NODE": "2"})

    assert agent.wait() == 0, agent.output
    agent.wait_for(r"rank [01] of 2 node 0 job", count=2)
    agent.wait_for(r"rank 0 of 1 node 0 job", count=2)


def test_a_scheduler_is_heard_of_with_v(
    launch: Launch, job: int, script: Script, tmp_path: Path
) -> None:
    environment = slurm(job, 0, tmp_path)
    agent = launch("-v", "--nnodes", "1", script(SHOW), **environment)

    assert agent.wait() == 0
    agent.wait_for(r"elsewhere: .*nproc_per_node \(Slurm: SLURM_GPUS_ON_NODE\)")


def explained(
    environment: Mapping[str, str], *flags: str, folder: Path
) -> "subprocess.CompletedProcess[str]":
    """Return what ``elaunch explain`` says where nothing else is set."""
    (folder / "train.py").touch()
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME") or name.startswith(forks.AT_START)
    }
    words = ["explain", *flags, "train.py"]
    ended = forks.run(words, folder, {**kept, **environment})
    assert [path.name for path in folder.iterdir()] == ["train.py"]
    return ended


def settings_of(text: str) -> list[str]:
    """Return the lines of the settings, those that were wrapped as one."""
    section = text.split("settings that are no defaults\n")[1].partition("\n\n")[0]
    joined = re.sub(r"\n {6,}", " ", section)
    return [re.sub(r" {2,}", " ", line.strip()) for line in joined.splitlines()]


@pytest.mark.parametrize(
    ("environment", "flags", "settings"),
    [
        (
            SRUN,
            (),
            [
                "--nnodes 4 Slurm: SLURM_STEP_NUM_NODES",
                "--nproc-per-node 8 Slurm: SLURM_GPUS_ON_NODE",
                (
                    "--rdzv-endpoint gpu011:27301 Slurm: first host of "
                    "SLURM_STEP_NODELIST; port by SLURM_JOB_ID and SLURM_STEP_ID"
                ),
                "--rdzv-id 7301.0 Slurm: SLURM_JOB_ID, SLURM_STEP_ID",
                "--node-rank 2 Slurm: SLURM_NODEID",
            ],
        ),
        (
            {**SRUN, "PET_NNODES": "2", "ELAUNCH_RDZV_ID": "mine"},
            ("--nproc-per-node", "4"),
            [
                "--nnodes 2 PET_NNODES",
                "--nproc-per-node 4 --nproc-per-node",
                (
                    "--rdzv-endpoint gpu011:27301 Slurm: first host of "
                    "SLURM_STEP_NODELIST; port by SLURM_JOB_ID and SLURM_STEP_ID"
                ),
                "--rdzv-id mine ELAUNCH_RDZV_ID",
            ],
        ),
        (SBATCH, (), ["--nproc-per-node 8 Slurm: SLURM_GPUS_ON_NODE"]),
        (
            OPEN_MPI_5,
            (),
            [
                "--nnodes 2 Open MPI: OMPI_COMM_WORLD_SIZE",
                (
                    "--rdzv-endpoint node-a:31235 Open MPI: host of mpirun "
                    "(PMIX_NAMESPACE); port by PMIX_NAMESPACE"
                ),
                "--rdzv-id prterun-node-a-71234@1 Open MPI: PMIX_NAMESPACE",
                "--node-rank 0 Open MPI: OMPI_COMM_WORLD_RANK",
            ],
        ),
        (
            {**HYDRA, "PBS_JOBID": "8123.pbs01"},
            ("--rdzv-endpoint", "x1"),
            [
                "--nnodes 2 MPI: PMI_SIZE",
                "--rdzv-endpoint x1 --rdzv-endpoint",
                "--rdzv-id 8123.pbs01 MPI: PBS_JOBID",
                "--node-rank 1 MPI: PMI_RANK",
            ],
        ),
        (
            {**PBSDSH, "PBS_NUM_NODES": "2"},
            ("--rdzv-endpoint", "x1"),
            [
                "--nnodes 2 PBS: PBS_NUM_NODES",
                "--rdzv-endpoint x1 --rdzv-endpoint",
                "--rdzv-id 8123.pbs01 PBS: PBS_JOBID",
                "--node-rank 1 PBS: PBS_NODENUM",
            ],
        ),
        (
            JOB_SET,
            ("--nnodes", "4"),
            [
                "--nnodes 4 --nnodes",
                (
                    "--rdzv-endpoint exp-workers-0-0.exp:29400 JobSet: first pod of "
                    "REPLICATED_JOB_NAME in JOBSET_NAME"
                ),
                "--rdzv-id exp-workers JobSet: JOBSET_NAME, REPLICATED_JOB_NAME",
                "--node-rank 3 JobSet: JOB_COMPLETION_INDEX",
            ],
        ),
        (
            INDEXED,
            ("--nnodes", "2", "--rdzv-endpoint", "train-0.svc", "--rdzv-id", "train"),
            [
                "--nnodes 2 --nnodes",
                "--rdzv-endpoint train-0.svc --rdzv-endpoint",
                "--rdzv-id train --rdzv-id",
                "--node-rank 1 Kubernetes: JOB_COMPLETION_INDEX",
            ],
        ),
        (
            REPLICA,
            ("--rdzv-id", "ddp"),
            [
                "--nnodes 3 PyTorchJob: WORLD_SIZE of a replica",
                (
                    "--rdzv-endpoint ddp-master-0:23456 PyTorchJob: MASTER_ADDR and "
                    "MASTER_PORT of a replica"
                ),
                "--rdzv-id ddp --rdzv-id",
                "--node-rank 2 PyTorchJob: RANK of a replica",
            ],
        ),
    ],
)
def test_what_was_filled_is_explained(
    environment: Mapping[str, str],
    flags: tuple[str, ...],
    settings: list[str],
    tmp_path: Path,
) -> None:
    ended = explained(environment, *flags, folder=tmp_path)

    assert ended.returncode == 0, ended.stderr
    assert settings_of(ended.stdout) == settings
    assert ended.stderr == ""


def test_where_nobody_says_where_nodes_meet_the_flag_is_named(tmp_path: Path) -> None:
    ended = explained(HYDRA, folder=tmp_path)

    assert ended.returncode == 2
    assert "give all of them the same --rdzv-endpoint host:port" in ended.stderr


@pytest.mark.parametrize(
    ("environment", "flags", "told"),
    [
        ({}, ("--spawner", "lokal"), (3, "no spawner backend is named 'lokal'")),
        ({}, ("--nproc-per-node", "x"), (2, "unsupported")),
        ({}, ("--nnodes", "2"), (2, "--rdzv-endpoint")),
        ({}, ("no-such.py",), (2, "script 'no-such.py' does not exist")),
        (SRUN_8_PER_NODE, (), (2, "srun --ntasks-per-node=1")),
    ],
)
def test_what_a_run_refuses_is_refused_alike(
    environment: Mapping[str, str],
    flags: tuple[str, ...],
    told: tuple[int, str],
    tmp_path: Path,
    launch: Launch,
) -> None:
    ended = explained(environment, *flags, folder=tmp_path)
    agent = launch(*flags, "train.py", **environment)

    assert agent.wait() == ended.returncode == told[0]
    assert told[1] in ended.stderr
    assert agent.output.strip() == ended.stderr.strip()


def test_a_note_is_explained(tmp_path: Path) -> None:
    ended = explained(SBATCH, folder=tmp_path)

    assert "\nnotes\n  Slurm gave this job 4 nodes" in ended.stdout


def test_tools_are_told_everything(tmp_path: Path) -> None:
    ended = explained({"ELAUNCH_ENV": "TOKEN=hush"}, "--json", folder=tmp_path)
    told = json.loads(ended.stdout)
    env = next(s for s in told["settings"] if s["name"] == "--env")

    assert env == {
        "name": "--env",
        "value": "TOKEN=<hidden>",
        "source": "ELAUNCH_ENV",
    }
    assert "hush" not in ended.stdout
    assert told["workers"][0]["argv"][-1] == "train.py"


def test_a_dry_run_is_the_same(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    agents = [
        launch("--standalone", *flags, "train.py", **variables)
        for flags, variables in (
            (("--dry-run",), {}),
            ((), {"ELAUNCH_DRY_RUN": "1"}),
        )
    ]

    for agent in agents:
        assert agent.wait() == 0
        assert agent.lines[0] == "This is what would run; nothing was started."
    assert [path.name for path in tmp_path.iterdir()] == ["train.py"]


def test_what_nobody_reads_to_the_end_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "train.py").touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "elaunch", "explain", "--standalone", "train.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()

    assert process.wait(timeout=120) == 0
    assert said == b""


def test_the_output_of_the_page_is_what_is_printed(tmp_path: Path) -> None:
    """Every line of the page comes in its order; dots stand for what is left out."""
    text = (DOCS / "schedulers.md").read_text()
    (block,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    ended = explained(SRUN, folder=tmp_path)
    printed = iter(ended.stdout.replace(sys.executable, "python").splitlines())

    for line in block.splitlines():
        assert line.strip() == "..." or line in printed, line
