"""Who is asked, and what of the answer is used."""

import logging
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
from scheduler_environments import INDEXED, OPEN_MPI_4, SBATCH, SRUN, SRUN_8_PER_NODE

from elaunch.api import Detected, Scheduler, SchedulerProvider, Suggestion
from elaunch.errors import UsageError
from elaunch.hookspecs import hookimpl
from elaunch.launcher.detection import detect, fill
from elaunch.plugins import Plugin, Plugins, Status, load_plugins
from elaunch.plugins.loader import declared


def asked(environment: Mapping[str, str]) -> Detected | None:
    return detect(load_plugins(), environment)


def detected(environment: Mapping[str, str]) -> Detected:
    found = asked(environment)
    assert found
    return found


def filled(environment: Mapping[str, str], **given: str) -> dict[str, str]:
    found = asked(environment)
    values = fill(found, given).values if found else {}
    return {name: suggestion.value for name, suggestion in values.items()}


@pytest.mark.parametrize(
    ("environment", "scheduler"),
    [
        (SRUN, "Slurm"),
        (OPEN_MPI_4, "Open MPI"),
        # mpirun in a job of Slurm is nearer to the process.
        ({**SBATCH, **OPEN_MPI_4}, "Open MPI"),
        # What srun --mpi=pmi2 gives does not say whether there is one on each node.
        ({**SRUN, "PMI_RANK": "2", "PMI_SIZE": "4"}, "Slurm"),
        ({**INDEXED, **SRUN}, "Slurm"),
        (INDEXED, "Kubernetes"),
    ],
)
def test_the_nearest_scheduler_is_heard(
    environment: Mapping[str, str], scheduler: str
) -> None:
    assert detected(environment).scheduler == scheduler


@pytest.mark.parametrize("name", ["ELAUNCH_RUN_ID", "TORCHELASTIC_RUN_ID"])
def test_a_worker_is_nobodys_task(name: str) -> None:
    assert asked({**SRUN, name: "job"}) is None
    assert asked({"PATH": "/bin"}) is None


def plugin(scheduler: Scheduler) -> Plugins:
    """Return the plugins that are installed, and one that knows a scheduler."""
    module = ModuleType("site")

    @hookimpl
    def elaunch_register_schedulers() -> list[SchedulerProvider]:
        create = lambda _, __: scheduler  # noqa: E731 - a provider wants one
        return [SchedulerProvider("site", "ours", create, markers=("SITE_JOB",))]

    vars(module)["elaunch_register_schedulers"] = elaunch_register_schedulers
    own = Plugin(
        name="site",
        point=EntryPoint("site", "site", "elaunch"),
        status=Status.OK,
        providers=declared("site", module),
    )
    return Plugins((*load_plugins().loaded, own))


class Site:
    def detect(self, environment: Mapping[str, str]) -> Detected | None:
        job = environment["SITE_JOB"]
        if job == "broken":
            raise RuntimeError("no such site")
        if job == "none":
            return None
        return Detected(scheduler="Site", values={"rdzv_id": Suggestion(job, "SITE")})


def test_a_plugin_is_asked_first_where_its_marker_is() -> None:
    plugins = plugin(Site())
    own = detect(plugins, {**SRUN, "SITE_JOB": "7"})
    others = [detect(plugins, SRUN), detect(plugins, {**SRUN, "SITE_JOB": "none"})]

    assert own
    assert own.scheduler == "Site"
    assert [found.scheduler for found in others if found] == ["Slurm", "Slurm"]


def test_a_scheduler_that_raises_is_told_of_and_the_next_is_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        found = detect(plugin(Site()), {**SRUN, "SITE_JOB": "broken"})

    assert found
    assert found.scheduler == "Slurm"
    (message,) = caplog.messages
    assert message == (
        "scheduler 'site' of plugin 'site' failed: RuntimeError: no such site; nothing "
        "is filled in by it"
    )


@pytest.mark.parametrize("markers", [(), "SITE_JOB", ["SITE_JOB"]])
def test_a_scheduler_has_markers(markers: object) -> None:
    with pytest.raises(ValueError, match="markers are a tuple"):
        SchedulerProvider("x", "y", lambda _, __: Site(), markers=markers)  # type: ignore[arg-type] # the point


ALL = {
    "nnodes": "4",
    "node_rank": "2",
    "rdzv_endpoint": "gpu011:27301",
    "rdzv_id": "7301.0",
    "nproc_per_node": "8",
}


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in ALL.items() if name not in names}


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({}, ALL),
        ({"max_restarts": "3"}, ALL),
        ({"standalone": "True"}, {}),
        ({"nproc_per_node": "2"}, without("nproc_per_node")),
        ({"rdzv_id": "x"}, without("rdzv_id")),
        ({"rdzv_endpoint": "h:1"}, without("rdzv_endpoint")),
        ({"node_rank": "1"}, without("node_rank")),
        ({"nnodes": "4"}, without("nnodes")),
        ({"nnodes": "3"}, without("nnodes")),
        ({"nnodes": "1:4"}, without("nnodes")),
        # A node beyond those that the user asked for gets no rank.
        ({"nnodes": "2"}, without("nnodes", "node_rank")),
        ({"nnodes": "1:2"}, without("nnodes", "node_rank")),
        # One node meets nobody.
        ({"nnodes": "1"}, {"nproc_per_node": "8"}),
        ({"nnodes": "nonsense"}, {"nproc_per_node": "8"}),
        # Where the user says how nodes meet, it is not at the first of them.
        ({"rdzv_backend": "etcd"}, without("rdzv_endpoint")),
        ({"rdzv_backend": "c10d"}, ALL),
        ({"rdzv_backend": "static"}, ALL),
        ({"master_addr": "h"}, without("rdzv_endpoint")),
        ({"master_port": "1"}, without("rdzv_endpoint")),
    ],
)
def test_what_fits_to_what_the_user_gave_is_used(
    given: Mapping[str, str], left: Mapping[str, str]
) -> None:
    assert filled(SRUN, **given) == left


def test_a_rank_of_a_plugin_that_is_none_is_not_used() -> None:
    values = {"nnodes": Suggestion("2", "SITE"), "node_rank": Suggestion("b", "SITE")}

    assert list(fill(Detected(scheduler="Site", values=values), {}).values) == [
        "nnodes"
    ]


def test_pods_whose_number_nobody_knows_are_jobs_of_their_own() -> None:
    environment = {**INDEXED, "JOB_COMPLETION_INDEX": "1"}

    assert filled(environment) == {}
    assert filled(environment, nnodes="2") == {"node_rank": "1"}


def test_several_tasks_on_a_node_are_refused_unless_the_user_says_how_many() -> None:
    found = detected(SRUN_8_PER_NODE)
    with pytest.raises(UsageError, match="srun --ntasks-per-node=1"):
        fill(found, {})
    with pytest.raises(UsageError, match="srun --ntasks-per-node=1"):
        fill(found, {"nproc_per_node": "8"})

    assert fill(found, {"nnodes": "32"}).values == {}
    assert fill(found, {"standalone": "True"}).values == {}


def test_a_note_is_for_who_does_not_say_how_many_nodes_there_are() -> None:
    found = detected(SBATCH)

    assert fill(found, {}).notes == found.notes != ()
    assert fill(found, {"nnodes": "1"}).notes == ()
    assert fill(found, {"standalone": "True"}).notes == ()
