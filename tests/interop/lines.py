"""The command lines, and what their workers see differently, with the reasons."""

from collections.abc import Mapping

from sides import ALONE, ONE_WORKER, Line


ALWAYS: Mapping[str, str] = {
    "$ELAUNCH_*": "what elaunch alone tells, under names of its own",
    "$MASTER_PORT": "the port is free, and in elaunch a new one for each generation",
    "$PYTHONFAULTHANDLER": "a worker that crashes names its line",
    "$PYTHONUNBUFFERED": "in place of `python -u`, so that it reaches every program",
    "$TORCHELASTIC_ERROR_FILE": "each launcher has its own directory for it",
    "$TORCHELASTIC_SIGNALS_TO_HANDLE": "torchrun says that to itself, and it leaks",
    "stdin": "several workers can't share one; --debug-rank gives it to one of them",
}
"""What each worker sees differently, and why."""

SOMETIMES: Mapping[str, str] = {
    "$MASTER_ADDR": "torchrun says 'localhost' where elaunch says '127.0.0.1'",
    "$OMP_NUM_THREADS": "CPUs of the node / its workers; torchrun says 1 to several "
    "workers, which with the two CPUs of these tests is the same, and nothing to one",
    "$TORCHELASTIC_RUN_ID": "random; elaunch keeps an id that was given",
    "descriptors": "function workers of torchrun inherit what it has open",
    "path": "the same directory: torchrun writes it out, elaunch as '' like python -c",
    "unbuffered": "torchrun says `-u` to scripts only",
}
"""What some see differently, and why; each line says what it is there."""

ID = frozenset({"$TORCHELASTIC_RUN_ID"})
RUN_PATH = ALONE | {"descriptors", "unbuffered"}

C10D = "--rdzv-backend c10d --rdzv-endpoint 127.0.0.1:@port --rdzv-id job"
STATIC = "--node-rank @node --master-addr 127.0.0.1 --master-port @port"
DEVICES = {"CUDA_VISIBLE_DEVICES": "4,6"}

LINES = (
    # What belongs to the launcher, and what to the script.
    Line("probe.py"),
    Line("probe.py --lr 0.1 -m x --nnodes=3 --standalone -h"),
    Line("--nproc-per-node 2 probe.py -- a -- '' 'b c' $HOME *", differs=ALONE),
    Line("-- probe.py a"),
    Line("-m probe a -m b"),
    Line("--module --role=x probe --module"),
    Line("--no-python @python probe.py a", differs=ALONE | ONE_WORKER | {"unbuffered"}),
    Line(
        "--no_python --role x @python probe.py -a",
        differs=ALONE | ONE_WORKER | {"unbuffered"},
    ),
    Line("--run-path probe.py a b", differs=RUN_PATH | ONE_WORKER | {"path"}),
    Line(
        "--run_path --start_method forkserver --nproc_per_node 2 probe.py a",
        differs=RUN_PATH,
    ),
    Line("probe a", {"PET_MODULE": "1"}),
    Line(
        "@python probe.py a",
        {"PET_NO_PYTHON": "1"},
        differs=ALONE | ONE_WORKER | {"unbuffered"},
    ),
    Line(
        "probe.py a",
        {"PET_RUN_PATH": "1", "PET_MODULE": "0"},
        differs=RUN_PATH | ONE_WORKER | {"path"},
    ),
    Line("probe.py", {"PYTHON_EXEC": "@here/another-python"}),
    Line("--start-method fork probe.py"),
    Line(
        "--start-method forkserver --no-python @python probe.py",
        differs=ALONE | ONE_WORKER | {"unbuffered"},
    ),
    # How many.
    Line("--nproc-per-node 3 probe.py", differs=ALONE),
    Line(
        "--nproc_per_node=2 probe.py --rank ${local_rank} x${local_rank}y",
        differs=ALONE,
    ),
    Line("--nproc-per-node auto probe.py", differs=ALONE),
    Line("--nproc-per-node cpu probe.py", differs=ALONE),
    Line("probe.py", {"PET_NPROC_PER_NODE": "2"}, differs=ALONE),
    Line("--nproc-per-node 1 probe.py", {"PET_NPROC_PER_NODE": "3"}),
    Line(
        "--nnodes 1:1 --nproc-per-node 2 probe.py",
        {"PET_NNODES": "2:4"},
        differs=ALONE,
    ),
    # Where nodes meet.
    Line("--standalone --nproc-per-node 2 probe.py", differs=ALONE),
    Line("--rdzv-id mine probe.py", {"PET_STANDALONE": "1"}),
    Line(
        "--nnodes=1 --master_addr=127.0.0.1 --master_port=@port --node_rank=0 probe.py",
        differs=ONE_WORKER,
    ),
    Line(
        "--rdzv_backend=c10d --rdzv_endpoint=localhost:0 --rdzv_id=j1 probe.py",
        differs=ONE_WORKER | {"$MASTER_ADDR"},
    ),
    Line(
        "--rdzv-backend c10d --rdzv-endpoint localhost:@port --local-addr 127.0.0.1 "
        "--rdzv-conf is_host=1,join_timeout=60,timeout=60 probe.py",
        differs=ID | ONE_WORKER,
    ),
    Line(
        f"--nnodes 2 {STATIC} --nproc-per-node 2 probe.py",
        nodes=2,
        differs=frozenset(),
    ),
    Line(
        "probe.py",
        {
            "PET_NNODES": "2",
            "PET_NODE_RANK": "@node",
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": "@port",
        },
        nodes=2,
        differs=ONE_WORKER,
    ),
    Line(
        f"--nnodes 2 --role @role --nproc-per-node @count {STATIC} probe.py",
        nodes=2,
        differs=ONE_WORKER,
    ),
    Line(
        f"--nnodes 2 {C10D} --nproc-per-node 2 probe.py",
        nodes=2,
        differs=frozenset({"$MASTER_ADDR"}),
    ),
    Line(
        "probe.py",
        {
            "PET_NNODES": "2:2",
            "PET_RDZV_BACKEND": "c10d",
            "PET_RDZV_ENDPOINT": "127.0.0.1:@port",
            "PET_RDZV_ID": "job",
            "PET_RDZV_CONF": "join_timeout=60",
        },
        nodes=2,
        differs=ONE_WORKER | {"$MASTER_ADDR"},
    ),
    # When something fails.
    Line(
        "--max-restarts 1 --nproc-per-node 2 probe.py",
        {"FAILS": "by itself"},
        differs=ALONE,
    ),
    Line("--role x probe.py", {"PET_MAX_RESTARTS": "1", "FAILS": "by signal"}),
    Line("--max_restarts 2 probe.py", {"PET_MAX_RESTARTS": "0"}),
    Line("--max-restarts 0 probe.py", {"FAILS": "by itself"}, status=(1, 3)),
    # Where output goes.
    Line("--log-dir logs -r 3 --nproc-per-node 2 probe.py", differs=ALONE),
    Line("--log-dir /dev/null -r 3 --nproc-per-node 2 probe.py", differs=ALONE),
    Line("--log_dir=logs -t 3 --nproc-per-node 2 probe.py", differs=ALONE),
    Line(
        "--log-dir logs --redirect 0:1,1:2 --tee 0:2 --nproc-per-node 2 probe.py",
        differs=ALONE,
    ),
    Line(
        "--nproc-per-node 2 probe.py",
        {"PET_LOG_DIR": "logs", "PET_REDIRECTS": "1", "PET_TEE": "2"},
        differs=ALONE,
    ),
    Line(
        "--local-ranks-filter 1 -t 3 --log-dir logs --nproc-per-node 2 probe.py",
        differs=ALONE,
    ),
    Line(
        "--duplicate-stdout-filters probe --duplicate_stderr_filters x -t 3 "
        "--log-dir logs probe.py"
    ),
    # What workers are told.
    Line("--nproc-per-node 2 probe.py", {"OMP_NUM_THREADS": "5"}, differs=ALONE),
    Line("probe.py", {"OMP_NUM_THREADS": "2"}, differs=ALONE),
    Line("probe.py", {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "3"}),
    Line(
        "--virtual-local-rank --nproc-per-node 2 probe.py ${local_rank}", differs=ALONE
    ),
    Line(
        "--nproc-per-node 2 probe.py",
        {"PET_VIRTUAL_LOCAL_RANK": "1", **DEVICES},
        differs=ALONE,
    ),
    Line(
        "--role trainer --event-log-handler null --monitor-interval 0.05 "
        "--shutdown-timeout 3 --signals-to-handle SIGTERM,SIGINT probe.py"
    ),
    Line(
        "probe.py",
        {
            "PET_ROLE": "r",
            "PET_MONITOR_INTERVAL": "0.05",
            "PET_START_METHOD": "spawn",
            "PET_EVENT_LOG_HANDLER": "null",
            "PET_SIGNALS_TO_HANDLE": "SIGTERM",
            "PET_SHUTDOWN_TIMEOUT": "3",
        },
    ),
    # What neither does.
    Line("--no-python -m probe", status=(1, 2)),
    Line("--nproc-per-node gpu probe.py", status=(1, 2)),
    Line("--nproc-per-node two probe.py", status=(1, 2)),
    Line("--nnodes 1:2:3 probe.py", status=(1, 2)),
    Line("--nnodes 2:1 probe.py", status=(1, 2)),
    Line("--max-restarts -1 probe.py", status=(1, 2)),
    Line("--no-such-flag probe.py", status=(2, 2)),
    Line("probe.py", {"PET_MAX_RESTARTS": "abc"}, status=(2, 2)),
    # What elaunch does not do: torchrun ignores the flag, or one that contradicts it.
    Line("--run-path --no-python -m probe.py", status=(0, 2)),
    Line("--standalone --rdzv-endpoint x:1 probe.py", status=(0, 2)),
)
