"""Environments as schedulers make them, as far as they matter."""

SBATCH = {
    "SLURM_JOB_ID": "7301",
    "SLURM_JOBID": "7301",
    "SLURM_JOB_NAME": "train",
    "SLURM_NNODES": "4",
    "SLURM_JOB_NUM_NODES": "4",
    "SLURM_JOB_NODELIST": "gpu[011-012,020-021]",
    "SLURM_NODELIST": "gpu[011-012,020-021]",
    "SLURM_NTASKS": "4",
    "SLURM_NPROCS": "4",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_TASKS_PER_NODE": "1(x4)",
    "SLURM_GPUS_ON_NODE": "8",
    "SLURM_CPUS_ON_NODE": "96",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_GTIDS": "0",
    "SLURMD_NODENAME": "gpu011",
}
"""A batch script, which runs on the first of its nodes."""

SRUN = {
    **SBATCH,
    "SLURM_STEP_ID": "0",
    "SLURM_STEPID": "0",
    "SLURM_STEP_NUM_NODES": "4",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
    "SLURM_STEP_NODELIST": "gpu[011-012,020-021]",
    "SLURM_PROCID": "2",
    "SLURM_NODEID": "2",
    "SLURMD_NODENAME": "gpu020",
    "SLURM_SRUN_COMM_HOST": "10.1.0.11",
}
"""The third task of ``srun`` in that script."""

SRUN_8_PER_NODE = {
    **SRUN,
    "SLURM_NTASKS": "32",
    "SLURM_STEP_NUM_TASKS": "32",
    "SLURM_STEP_TASKS_PER_NODE": "8(x4)",
    "SLURM_NTASKS_PER_NODE": "8",
}

OPEN_MPI_4 = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
    "OMPI_COMM_WORLD_NODE_RANK": "0",
    "OMPI_MCA_ess_base_jobid": "1531838465",
    "OMPI_MCA_orte_hnp_uri": "1531838464.0;tcp://127.0.0.1,10.0.0.5:39345",
    "PMIX_RANK": "1",
    "PMIX_NAMESPACE": "1531838465",
}
"""``mpirun --map-by ppr:1:node`` of Open MPI 4."""

OPEN_MPI_5 = {
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
    "PMIX_RANK": "0",
    "PMIX_NAMESPACE": "prterun-node-a-71234@1",
    "PRTE_LAUNCHED": "1",
}

HYDRA = {
    "PMI_RANK": "1",
    "PMI_SIZE": "2",
    "PMI_FD": "7",
    "MPI_LOCALRANKID": "0",
    "MPI_LOCALNRANKS": "1",
}
"""``mpiexec -ppn 1`` of MPICH and Intel MPI."""

PALS = {
    "PMI_RANK": "1",
    "PMI_SIZE": "2",
    "PMI_LOCAL_RANK": "0",
    "PMI_LOCAL_SIZE": "1",
    "PALS_RANKID": "1",
}
"""``mpiexec -ppn 1`` of Cray."""

PBS_SCRIPT = {
    "PBS_JOBID": "8123.pbs01",
    "PBS_ENVIRONMENT": "PBS_BATCH",
    "PBS_NODENUM": "0",
    "PBS_TASKNUM": "1",
    "PBS_MOMPORT": "15003",
}
PBSDSH = {**PBS_SCRIPT, "PBS_NODENUM": "1", "PBS_TASKNUM": "20000002"}

POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}

INDEXED = {**POD, "JOB_COMPLETION_INDEX": "1", "HOSTNAME": "train-1"}

JOB_SET = {
    **POD,
    "JOBSET_NAME": "exp",
    "REPLICATED_JOB_NAME": "workers",
    "JOB_INDEX": "0",
    "JOB_COMPLETION_INDEX": "3",
    "HOSTNAME": "exp-workers-0-3",
}

REPLICA = {
    **POD,
    "MASTER_ADDR": "ddp-master-0",
    "MASTER_PORT": "23456",
    "WORLD_SIZE": "3",
    "RANK": "2",
    "PYTHONUNBUFFERED": "0",
    "HOSTNAME": "ddp-worker-1",
}
"""The second worker of a PyTorchJob."""
