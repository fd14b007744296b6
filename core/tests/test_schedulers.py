"""What each scheduler's environment says, row by row."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from scheduler_environments import (
    HYDRA,
    INDEXED,
    JOB_SET,
    OPEN_MPI_4,
    OPEN_MPI_5,
    PALS,
    PBS_SCRIPT,
    PBSDSH,
    POD,
    REPLICA,
    SBATCH,
    SRUN,
    SRUN_8_PER_NODE,
)

from elaunch.api import Detected, Scheduler, SchedulerProvider
from elaunch.builtin import elaunch_register_schedulers
from elaunch.schedulers.kubernetes import Kubernetes
from elaunch.schedulers.mpi import Mpi
from elaunch.schedulers.pbs import Pbs
from elaunch.schedulers.slurm import Slurm
from elaunch.testing import SchedulerContract


OURS = {provider.name: provider for provider in elaunch_register_schedulers()}


class TestSlurm(SchedulerContract):
    provider: SchedulerProvider = OURS["slurm"]
    environments = (SRUN, SBATCH, SRUN_8_PER_NODE)


class TestMpi(SchedulerContract):
    provider: SchedulerProvider = OURS["mpi"]
    environments = (OPEN_MPI_4, OPEN_MPI_5, HYDRA, PALS, {**SRUN, **HYDRA})


class TestPbs(SchedulerContract):
    provider: SchedulerProvider = OURS["pbs"]
    environments = (PBS_SCRIPT, PBSDSH)


class TestKubernetesIndexedJob(SchedulerContract):
    provider: SchedulerProvider = OURS["kubernetes"]
    environments = (INDEXED, JOB_SET)
    host = "train-1"


class TestKubernetesReplica(SchedulerContract):
    provider: SchedulerProvider = OURS["kubernetes"]
    environments = (REPLICA,)
    host = "ddp-worker-1"


def values_of(scheduler: Scheduler, environment: Mapping[str, str]) -> dict[str, str]:
    found = detected(scheduler, environment)
    return {name: suggestion.value for name, suggestion in found.values.items()}


def detected(scheduler: Scheduler, environment: Mapping[str, str]) -> Detected:
    found = scheduler.detect(environment)
    assert found
    return found


def without(environment: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: v for name, v in environment.items() if name not in names}


STEP = {
    "nnodes": "4",
    "node_rank": "2",
    "rdzv_endpoint": "gpu011:27301",
    "rdzv_id": "7301.0",
    "nproc_per_node": "8",
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"SLURM_NODEID": "0", "SLURM_PROCID": "0"}, {"node_rank": "0"}),
        ({"SLURM_NODEID": None}, {"node_rank": None}),
        (
            {"SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "2"}
            | {"SLURM_STEP_NODELIST": "gpu[020-021]", "SLURM_STEP_ID": "3"},
            # A step of some of the nodes of a job, beside which others may run.
            {"nnodes": "2", "rdzv_endpoint": "gpu020:30328", "rdzv_id": "7301.3"},
        ),
        ({"SLURM_STEP_NUM_NODES": None}, {}),
        ({"SLURM_STEP_NUM_NODES": None, "SLURM_NNODES": None}, {}),
        ({"SLURM_STEP_NUM_TASKS": None, "SLURM_NTASKS": None}, {}),
        ({"SLURM_STEP_NODELIST": None}, {}),
        (
            {"SLURM_STEP_NODELIST": "n1[", "SLURM_JOB_NODELIST": "n2"},
            {"rdzv_endpoint": None},
        ),
        ({"SLURM_STEP_NODELIST": "localhost"}, {"rdzv_endpoint": "localhost:27301"}),
        ({"SLURM_RESTART_COUNT": "0"}, {}),
        ({"SLURM_RESTART_COUNT": "2"}, {"rdzv_id": "7301.0.r2"}),
        ({"SLURM_JOB_ID": "19301"}, {"rdzv_id": "19301.0"}),
        (
            {"SLURM_JOB_ID": "7302"},
            {"rdzv_id": "7302.0", "rdzv_endpoint": "gpu011:27302"},
        ),
        ({"SLURM_GPUS_ON_NODE": None}, {"nproc_per_node": None}),
        ({"SLURM_GPUS_ON_NODE": "0"}, {"nproc_per_node": None}),
        (
            {"SLURM_GPUS_ON_NODE": "2", "SLURM_GPUS_PER_NODE": "4"},
            {"nproc_per_node": "2"},
        ),
        (
            {"SLURM_GPUS_ON_NODE": None, "SLURM_GPUS_PER_NODE": "4"},
            {"nproc_per_node": "4"},
        ),
        (
            {"SLURM_GPUS_ON_NODE": None, "SLURM_GPUS_PER_NODE": "a100:4"},
            {"nproc_per_node": "4"},
        ),
        (
            {"SLURM_GPUS_ON_NODE": None, "SLURM_GPUS_PER_NODE": "a100:2,v100:1"},
            {"nproc_per_node": None},
        ),
        (
            {"SLURM_GPUS_ON_NODE": None, "SLURM_GPUS_PER_TASK": "h100:3"},
            {"nproc_per_node": "3"},
        ),
        ({"SLURM_JOB_NAME": "x"}, {}),
    ],
)
def test_a_task_of_srun_is_a_node_of_the_job(
    changes: Mapping[str, str | None], expected: Mapping[str, str | None]
) -> None:
    environment = {k: v for k, v in {**SRUN, **changes}.items() if v is not None}
    wanted = {k: v for k, v in {**STEP, **expected}.items() if v is not None}

    assert values_of(Slurm(), environment) == wanted


@pytest.mark.parametrize("job", ["", "x", "-5"])
def test_a_job_of_slurm_has_a_number(job: str) -> None:
    assert Slurm().detect({**SRUN, "SLURM_JOB_ID": job}) is None


def test_several_tasks_of_srun_on_a_node_are_a_problem_that_says_what_to_type() -> None:
    found = detected(Slurm(), SRUN_8_PER_NODE)

    assert not found.values
    assert found.problem == (
        "srun started 32 tasks on 4 nodes (SLURM_STEP_NUM_TASKS, "
        "SLURM_STEP_NUM_NODES), and elaunch is one agent per node, which starts the "
        "workers of its node: use srun --ntasks-per-node=1 elaunch run "
        "--nproc-per-node N, or --standalone if each task is a job of its own"
    )


@pytest.mark.parametrize("step", [None, "4294967291", "4294967290", "4294967294"])
def test_outside_of_srun_only_this_node_is_told_of(step: str | None) -> None:
    environment = SBATCH if step is None else {**SBATCH, "SLURM_STEP_ID": step}
    found = detected(Slurm(), environment)

    assert values_of(Slurm(), environment) == {"rdzv_id": "7301", "nproc_per_node": "8"}
    (note,) = found.notes
    assert note == (
        "Slurm gave this job 4 nodes (SLURM_NNODES), and this agent runs alone on one "
        "of them: to use all of them, srun --ntasks-per-node=1 elaunch run ..."
    )


def test_a_shell_of_salloc_may_be_on_a_host_without_the_gpus() -> None:
    environment = {
        **without(SBATCH, "SLURM_GPUS_ON_NODE"),
        "SLURM_GPUS_PER_NODE": "8",
    }

    assert "nproc_per_node" not in values_of(Slurm(), environment)


def test_a_batch_script_of_one_node_needs_no_srun() -> None:
    found = detected(Slurm(), {**SBATCH, "SLURM_NNODES": "1"})

    assert found.notes == ()


@pytest.mark.parametrize(
    ("environment", "scheduler", "expected"),
    [
        (
            OPEN_MPI_4,
            "Open MPI",
            {"rdzv_id": "1531838465", "rdzv_endpoint": "10.0.0.5:30465"},
        ),
        (
            OPEN_MPI_5,
            "Open MPI",
            {"node_rank": "0", "rdzv_id": "prterun-node-a-71234@1"}
            | {"rdzv_endpoint": "node-a:31235"},
        ),
        (HYDRA, "MPI", {}),
        (PALS, "MPI", {}),
        (
            {
                "MV2_COMM_WORLD_RANK": "1",
                "MV2_COMM_WORLD_SIZE": "2",
                "MV2_COMM_WORLD_LOCAL_SIZE": "1",
            },
            "MVAPICH2",
            {},
        ),
        (
            # mpiexec reaches the nodes by srun, whose variables come along.
            {**SRUN, **HYDRA, "SLURM_STEP_NODELIST": "a[1-2]"},
            "MPI",
            {"rdzv_id": "7301", "rdzv_endpoint": "a1:27301"},
        ),
        (
            # It uses two of four nodes, and who knows which.
            {**SRUN, **HYDRA},
            "MPI",
            {"rdzv_id": "7301"},
        ),
        (
            {**OPEN_MPI_4, "OMPI_MCA_orte_hnp_uri": "x"},
            "Open MPI",
            {"rdzv_id": "1531838465"},
        ),
        (
            {**OPEN_MPI_4, "OMPI_MCA_orte_hnp_uri": "1.0;tcp6://[fe80::1,::1]:5"},
            "Open MPI",
            {"rdzv_id": "1531838465", "rdzv_endpoint": "[fe80::1]:30465"},
        ),
    ],
)
def test_a_process_of_mpi_is_a_node_of_the_job(
    environment: Mapping[str, str], scheduler: str, expected: Mapping[str, str]
) -> None:
    assert detected(Mpi(), environment).scheduler == scheduler
    assert values_of(Mpi(), environment) == {
        "nnodes": "2",
        "node_rank": "1",
        **expected,
    }


@pytest.mark.parametrize(
    ("environment", "name", "hint"),
    [
        (
            OPEN_MPI_4,
            "OMPI_COMM_WORLD_LOCAL_SIZE",
            "mpirun --map-by ppr:1:node elaunch",
        ),
        (HYDRA, "MPI_LOCALNRANKS", "mpiexec -ppn 1 elaunch"),
        ({**SRUN, **HYDRA}, "MPI_LOCALNRANKS", "mpiexec -ppn 1 elaunch"),
    ],
)
def test_several_processes_of_mpi_on_a_node_are_a_problem(
    environment: Mapping[str, str], name: str, hint: str
) -> None:
    found = detected(Mpi(), {**environment, name: "8"})

    assert not found.values
    assert found.problem.startswith(
        f"8 processes were started on this node ({name}), and elaunch is one agent"
    )
    assert hint in found.problem


@pytest.mark.parametrize(
    "environment",
    [
        without(HYDRA, "MPI_LOCALNRANKS"),
        without(OPEN_MPI_4, "OMPI_COMM_WORLD_SIZE"),
        {**OPEN_MPI_4, "OMPI_COMM_WORLD_LOCAL_SIZE": "many"},
        {**HYDRA, "MPI_LOCALNRANKS": "0"},
        # What srun --mpi=pmi2 gives: Slurm knows more of it.
        {**SRUN, "PMI_RANK": "2", "PMI_SIZE": "4", "PMI_FD": "5"},
    ],
)
def test_a_process_of_which_nobody_says_whether_it_has_a_node_is_not_mpis(
    environment: Mapping[str, str],
) -> None:
    assert Mpi().detect(environment) is None


@pytest.fixture
def nodefile(tmp_path: Path) -> str:
    path = tmp_path / "8123.pbs01"
    path.write_text("x1\nx1\nx2\nx2\n")
    return str(path)


PBS_JOB = {"nnodes": "2", "node_rank": "1", "rdzv_id": "8123.pbs01"}


def test_a_task_of_pbsdsh_is_a_node_of_the_job(nodefile: str) -> None:
    assert values_of(Pbs(), {**PBSDSH, "PBS_NODEFILE": nodefile}) == {
        **PBS_JOB,
        "rdzv_endpoint": "x1:28123",
    }


@pytest.mark.parametrize("file", [{}, {"PBS_NODEFILE": "/nowhere"}])
def test_where_the_file_of_hosts_is_not_the_endpoint_is_open(
    file: Mapping[str, str],
) -> None:
    environment = {**PBSDSH, **file, "PBS_NUM_NODES": "2"}

    assert values_of(Pbs(), environment) == PBS_JOB
    assert values_of(Pbs(), without(environment, "PBS_NUM_NODES")) == without(
        PBS_JOB, "nnodes"
    )


@pytest.mark.parametrize("task", [None, "1"])
def test_a_node_of_pbs_that_is_not_the_first_runs_no_script_of_a_job(
    task: str | None,
) -> None:
    environment = without({**PBSDSH, "PBS_NUM_NODES": "2"}, "PBS_TASKNUM")
    tasks = {"PBS_TASKNUM": task} if task else {}

    assert values_of(Pbs(), environment | tasks) == PBS_JOB


def test_what_is_no_file_of_hosts_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    assert values_of(Pbs(), {**PBSDSH, "PBS_NODEFILE": str(pipe)}) == without(
        PBS_JOB, "nnodes"
    )


def test_a_part_of_an_array_of_pbs_has_an_id_and_a_port_of_its_own(
    nodefile: str,
) -> None:
    environment = {**PBSDSH, "PBS_NODEFILE": nodefile, "PBS_JOBID": "8123[7].pbs01"}
    values = values_of(Pbs(), environment)

    assert values["rdzv_id"] == "8123-7-.pbs01"
    assert values["rdzv_endpoint"] == "x1:28130"


def test_the_script_of_a_pbs_job_is_told_how_to_use_all_nodes(nodefile: str) -> None:
    found = detected(Pbs(), {**PBS_SCRIPT, "PBS_NODEFILE": nodefile})

    assert set(found.values) == {"rdzv_id"}
    (note,) = found.notes
    assert note == (
        "PBS gave this job 2 nodes (hosts in PBS_NODEFILE), and this agent runs alone "
        "on the first: to use all of them, mpiexec -ppn 1 elaunch run ..., or pbsdsh "
        "-- elaunch run ..."
    )
    assert detected(Pbs(), PBS_SCRIPT).notes == ()


def test_mpiexec_in_a_pbs_job_meets_at_the_first_of_its_hosts(nodefile: str) -> None:
    environment = {**PBS_SCRIPT, "PBS_NODEFILE": nodefile, **PALS}

    assert values_of(Mpi(), environment) == {**PBS_JOB, "rdzv_endpoint": "x1:28123"}


@pytest.mark.parametrize(
    ("host", "environment", "scheduler", "expected"),
    [
        (
            "train-1",
            INDEXED,
            "Kubernetes",
            {
                "node_rank": "1",
                "rdzv_id": "train",
                "rdzv_endpoint": "train-0.train:29400",
            },
        ),
        ("other", INDEXED, "Kubernetes", {"node_rank": "1"}),
        ("train-12", {"JOB_COMPLETION_INDEX": "2"}, "Kubernetes", {"node_rank": "2"}),
        (
            "exp-workers-0-3",
            JOB_SET,
            "JobSet",
            {"node_rank": "3", "rdzv_id": "exp-workers"}
            | {"rdzv_endpoint": "exp-workers-0-0.exp:29400"},
        ),
        (
            "exp-workers-1-3",
            {**JOB_SET, "JOB_INDEX": "1", "JOBSET_SUBDOMAIN": "net"}
            | {"JOBSET_RESTART_ATTEMPT": "2"},
            "JobSet",
            {"rdzv_id": "exp-workers.r2"}
            | {"rdzv_endpoint": "exp-workers-0-0.net:29400"},
        ),
        (
            "ddp-worker-1",
            REPLICA,
            "PyTorchJob",
            {"nnodes": "3", "node_rank": "2", "rdzv_id": "ddp"}
            | {"rdzv_endpoint": "ddp-master-0:23456"},
        ),
        (
            "ddp-master-0",
            {**REPLICA, "RANK": "0", "MASTER_ADDR": "localhost"},
            "PyTorchJob",
            {"nnodes": "3", "node_rank": "0", "rdzv_id": "ddp"}
            | {"rdzv_endpoint": "ddp-master-0:23456"},
        ),
        (
            "pod",
            REPLICA,
            "PyTorchJob",
            {"nnodes": "3", "node_rank": "2", "rdzv_endpoint": "ddp-master-0:23456"},
        ),
    ],
)
def test_a_pod_is_a_node_of_the_job(
    host: str,
    environment: Mapping[str, str],
    scheduler: str,
    expected: Mapping[str, str],
) -> None:
    assert detected(Kubernetes(host), environment).scheduler == scheduler
    assert values_of(Kubernetes(host), environment) == expected


@pytest.mark.parametrize(
    "environment",
    [
        POD,
        without(REPLICA, "KUBERNETES_SERVICE_HOST"),
        without(REPLICA, "MASTER_ADDR"),
        without(REPLICA, "WORLD_SIZE"),
        # A worker that any launcher started in a pod.
        {**REPLICA, "LOCAL_RANK": "0"},
        # WORLD_SIZE counts workers then, and PET_NNODES the nodes.
        {**REPLICA, "PET_NPROC_PER_NODE": "8"},
        {**REPLICA, "PET_NPROC_PER_NODE": "auto"},
    ],
)
def test_any_other_pod_is_nobodys(environment: Mapping[str, str]) -> None:
    assert Kubernetes("ddp-worker-1").detect(environment) is None


@pytest.mark.parametrize("more", [{}, JOB_SET])
def test_a_pod_of_several_is_told_how_to_use_all(more: dict[str, str]) -> None:
    def notes(index: str) -> tuple[str, ...]:
        given = {**more, "JOB_COMPLETION_INDEX": index}
        return detected(Kubernetes("train-x"), given).notes

    (note,) = notes("2")
    assert note == (
        "this pod has index 2 (JOB_COMPLETION_INDEX), so its job has several, and this "
        "agent runs alone in one of them: to use all of them, give --nnodes"
    )
    assert notes("0") == ()
