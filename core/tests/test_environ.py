"""The worker environment."""

from elaunch.environ import TABLE, WorkerContext, names_of, worker_environment
from elaunch.rendezvous import Membership
from elaunch.templates import NAMES
from elaunch.workers import WorkerRanks


CONTEXT = WorkerContext(
    membership=Membership(
        generation=3,
        group_rank=1,
        group_size=2,
        base_rank=4,
        world_size=6,
        base_role_rank=0,
        role_world_size=2,
        restart_count=1,
        reason="node 'b' joined",
    ),
    ranks=WorkerRanks(local_rank=1, rank=5, role_rank=1),
    local_world_size=2,
    role="trainer",
    run_id="job-7",
    max_restarts=4,
    cores=9,
    inherited={},
)


def test_every_variable_has_its_value() -> None:
    assert worker_environment(CONTEXT) == {
        "RANK": "5",
        "LOCAL_RANK": "1",
        "ROLE_RANK": "1",
        "GROUP_RANK": "1",
        "WORLD_SIZE": "6",
        "LOCAL_WORLD_SIZE": "2",
        "ROLE_WORLD_SIZE": "2",
        "GROUP_WORLD_SIZE": "2",
        "ROLE_NAME": "trainer",
        "TORCHELASTIC_RUN_ID": "job-7",
        "TORCHELASTIC_RESTART_COUNT": "1",
        "TORCHELASTIC_MAX_RESTARTS": "4",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        "OMP_NUM_THREADS": "4",
        "ELAUNCH_RUN_ID": "job-7",
        "ELAUNCH_GENERATION": "3",
        "ELAUNCH_RESTART_COUNT": "1",
        "ELAUNCH_REASON": "node 'b' joined",
    }


def test_the_user_has_the_last_word_where_it_may() -> None:
    import attrs

    given = {"OMP_NUM_THREADS": "7", "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"}
    environment = worker_environment(attrs.evolve(CONTEXT, inherited=given))

    assert environment["OMP_NUM_THREADS"] == "7"
    assert environment["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == "0"


def test_more_workers_than_cores_get_one_thread_each() -> None:
    import attrs

    crowded = attrs.evolve(CONTEXT, cores=2, local_world_size=8)

    assert worker_environment(crowded)["OMP_NUM_THREADS"] == "1"


def test_no_name_comes_twice() -> None:
    names = [variable.name for variable in TABLE]

    assert len(names) == len(set(names))


def test_every_name_of_a_template_has_a_value() -> None:
    names = names_of(CONTEXT, "n0")

    assert names.keys() == NAMES.keys()
    assert (names["rank"], names["local_rank"], names["host"]) == ("5", "1", "n0")
