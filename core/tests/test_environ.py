"""The worker environment."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs
import pytest

from elaunch import UsageError
from elaunch.environ import (
    ALLOWED,
    BY_AGENT,
    BY_BOOTSTRAP,
    BY_SPAWNER,
    TABLE,
    EnvironmentSettings,
    Threads,
    WorkerContext,
    check_env,
    inherited_environment,
    names_of,
    threads_of,
    worker_environment,
)
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


NAMES_OF_CONTEXT = names_of(CONTEXT, "n0")


def environment(
    inherited: Mapping[str, str] = MappingProxyType({}), **wanted: Any
) -> dict[str, str]:
    settings = EnvironmentSettings(**wanted)
    context = attrs.evolve(CONTEXT, inherited=inherited, settings=settings)
    return worker_environment(context, NAMES_OF_CONTEXT)


def test_every_variable_has_its_value() -> None:
    assert environment() == {
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
    given = {"OMP_NUM_THREADS": "7", "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"}
    found = environment(given)

    assert found["OMP_NUM_THREADS"] == "7"
    assert found["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == "0"


def test_more_workers_than_cores_get_one_thread_each() -> None:
    crowded = attrs.evolve(CONTEXT, cores=2, local_world_size=8)

    assert threads_of(crowded) == Threads("1", "2 CPUs / 8 workers", guessed=True)


@pytest.mark.parametrize(
    ("wanted", "inherited", "threads"),
    [
        ({}, {}, Threads("4", "9 CPUs / 2 workers", guessed=True)),
        ({}, {"OMP_NUM_THREADS": ""}, Threads("4", "9 CPUs / 2 workers", guessed=True)),
        ({}, {"OMP_NUM_THREADS": "7"}, Threads("7", "the environment")),
        ({"threads": 3}, {"OMP_NUM_THREADS": "7"}, Threads("3", "--threads")),
        (
            {"env": {"OMP_NUM_THREADS": "5"}},
            {"OMP_NUM_THREADS": "7"},
            Threads("5", "--env"),
        ),
    ],
)
def test_a_flag_wins_over_the_environment_and_that_over_the_default(
    wanted: dict[str, Any], inherited: dict[str, str], threads: Threads
) -> None:
    settings = EnvironmentSettings(**wanted)
    context = attrs.evolve(CONTEXT, inherited=inherited, settings=settings)

    assert threads_of(context) == threads
    assert environment(inherited, **wanted)["OMP_NUM_THREADS"] == threads.count


def test_what_the_user_adds_is_rendered_for_each_worker() -> None:
    found = environment(env={"OUT": "{role}-{rank}.log", "RAW": "{{rank}}"})

    assert found["OUT"] == "trainer-5.log"
    assert found["RAW"] == "{rank}"


def test_a_virtual_local_rank_shows_one_device_and_changes_nothing_else() -> None:
    given = {"CUDA_VISIBLE_DEVICES": "4,5"}
    found, before = environment(given, virtual_local_rank=True), environment(given)

    assert found.items() - before.items() == {
        ("LOCAL_RANK", "0"),
        ("CUDA_VISIBLE_DEVICES", "5"),
    }
    assert found["LOCAL_WORLD_SIZE"] == "2"
    assert NAMES_OF_CONTEXT["local_rank"] == "1"


def test_a_device_list_that_the_user_adds_counts_before_the_agents() -> None:
    found = environment(
        {"CUDA_VISIBLE_DEVICES": "4,5"},
        env={"CUDA_VISIBLE_DEVICES": "6,7"},
        virtual_local_rank=True,
    )

    assert found["CUDA_VISIBLE_DEVICES"] == "7"


def ours() -> set[str]:
    parts = BY_AGENT.keys() | BY_BOOTSTRAP.keys() | BY_SPAWNER.keys()
    return {v.name for v in TABLE} | parts


@pytest.mark.parametrize("name", sorted(ours() - ALLOWED))
def test_what_says_who_a_worker_is_can_not_be_set(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}' is for elaunch to set"):
        check_env({name: "x"})


def test_what_the_user_may_decide_can_be_set() -> None:
    assert ours() > ALLOWED
    check_env(dict.fromkeys(ALLOWED, "1"))


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"": "x"}, "no variable can have the name or value of ''"),
        ({"A=B": "x"}, "of 'A=B'"),
        ({"A": "x\0"}, "of 'A'"),
        ({"ELAUNCH_RDZV_TOKEN": "s3cret"}, "workers don't get 'ELAUNCH_RDZV_TOKEN'"),
    ],
)
def test_what_no_worker_can_get_is_refused_without_its_value(
    env: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        check_env(env)

    assert "s3cret" not in str(caught.value)


def test_values_that_may_be_secrets_are_not_shown() -> None:
    assert "s3cret" not in repr(EnvironmentSettings(env={"KEY": "s3cret"}))
    assert "KEY" in repr(EnvironmentSettings(env={"KEY": "s3cret"}))


def test_no_name_comes_twice() -> None:
    names = [variable.name for variable in TABLE]

    assert len(names) == len(set(names))


def test_every_name_of_a_template_has_a_value() -> None:
    names = names_of(CONTEXT, "n0")

    assert names.keys() == NAMES.keys()
    assert (names["rank"], names["local_rank"], names["host"]) == ("5", "1", "n0")


@pytest.mark.parametrize("around", [{}, {"TORCHELASTIC_RUN_ID": "around"}])
def test_where_others_meet_is_inherited_from_a_user_and_not_from_a_job(
    around: dict[str, str],
) -> None:
    mine = {"MASTER_ADDR": "node-1", "JAX_COORDINATOR_ADDRESS": "node-1:1", "LANG": "C"}

    inherited = inherited_environment({**mine, **around})

    assert inherited == ({"LANG": "C", **around} if around else mine)
