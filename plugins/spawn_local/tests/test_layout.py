"""Which files the log layout `default` chooses, and which it removes."""

import concurrent.futures
import logging
import os
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest

from elaunch.api import (
    LogLayout,
    LogLayoutParameters,
    OutputSettings,
    Route,
    SpawnError,
    WorkerRoutes,
    WorkerSpec,
)
from elaunch.testing import LogLayoutContract
from elaunch.testing.groups import worker
from elaunch_spawn_local.output.layout import DefaultLayout


FILE = Route(file=True)
BOTH = WorkerRoutes(stdout=FILE, stderr=FILE)


class TestDefaultLayout(LogLayoutContract):
    @pytest.fixture
    def layout(self, tmp_path: Path) -> LogLayout:
        return layout(tmp_path)


def layout(logs: Path, run_id: str = "job", **settings: Any) -> DefaultLayout:
    output = OutputSettings(log_dir=str(logs), **settings)
    return DefaultLayout(LogLayoutParameters(run_id=run_id, output=output))


def workers(generation: int, *ranks: int) -> list[WorkerSpec]:
    specs = []
    for local_rank, rank in enumerate(ranks):
        spec = worker(local_rank)
        specs.append(
            attrs.evolve(
                spec,
                ranks=attrs.evolve(spec.ranks, rank=rank),
                names={"generation": str(generation)},
            )
        )
    return specs


def place(
    chooser: DefaultLayout, generation: int, *ranks: int, port: str = ""
) -> list[Path]:
    """Let a layout choose, write to each file, and return the files of stdout."""
    specs = [
        attrs.evolve(spec, environment={"MASTER_PORT": port})
        for spec in workers(generation, *ranks)
    ]
    logs = chooser.place(specs, {s.ranks.local_rank: BOTH for s in specs})
    files = [Path(logs.workers[local].stdout.path) for local in range(len(ranks))]
    for file in files:
        with file.open("x") as new:
            new.write(f"{generation} {ranks}\n")
    return files


def test_files_lie_by_run_generation_and_global_rank(tmp_path: Path) -> None:
    files = place(layout(tmp_path), 3, 4, 5)

    assert files == [tmp_path / "job" / "3" / r / "stdout.log" for r in ("4", "5")]
    assert (tmp_path / "job" / "latest").readlink() == Path("3")


def test_agents_that_share_a_directory_share_no_file(tmp_path: Path) -> None:
    agents = [layout(tmp_path) for _ in range(8)]
    barrier = threading.Barrier(len(agents))

    def place_all(agent: int) -> None:
        for generation in range(1, 6):
            barrier.wait()
            place(agents[agent], generation, 2 * agent, 2 * agent + 1)

    threads = [threading.Thread(target=place_all, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    files = sorted(tmp_path.glob("job/[0-9]*/*/stdout.log"))
    assert files == sorted(
        tmp_path / "job" / str(generation) / str(rank) / "stdout.log"
        for generation in range(1, 6)
        for rank in range(16)
    )
    assert (tmp_path / "job" / "latest").readlink() == Path("5")
    assert {entry.name for entry in (tmp_path / "job").iterdir()} == {
        *("1", "2", "3", "4", "5"),
        "latest",
    }


def test_a_generation_that_comes_again_leaves_the_first_alone(tmp_path: Path) -> None:
    first = place(layout(tmp_path), 1, 0, 1)
    # The same run once more, first of the same size, then on more workers.
    second = place(layout(tmp_path), 1, 0, 1)
    third = place(layout(tmp_path), 1, 1, 2)

    assert [file.parents[1].name for file in (*first, *second, *third)] == [
        *("1", "1"),
        *("1.1", "1.1"),
        *("1.2", "1.2"),
    ]
    assert first[0].read_text() == "1 (0, 1)\n"
    assert (tmp_path / "job" / "latest").readlink() == Path("1.2")


def test_agents_of_a_launch_choose_alike_whatever_is_removed(tmp_path: Path) -> None:
    one, other = layout(tmp_path), layout(tmp_path)
    place(one, 1, 0, port="1")
    place(other, 1, 1, port="1")
    del one, other

    # Both are launched anew; the first removes what was there before the second comes.
    one, other = layout(tmp_path, retention=1), layout(tmp_path, retention=1)
    first = place(one, 1, 0, port="2")
    second = place(other, 1, 1, port="2")

    assert first == [tmp_path / "job" / "1.1" / "0" / "stdout.log"]
    assert second == [tmp_path / "job" / "1.1" / "1" / "stdout.log"]
    assert first[0].exists()
    assert not (tmp_path / "job" / "1").exists()
    assert (tmp_path / "job" / "latest").readlink() == Path("1.1")


def test_what_another_agent_still_writes_is_not_removed(tmp_path: Path) -> None:
    used = layout(tmp_path)
    file = place(used, 1, 0)[0]
    chooser = layout(tmp_path, retention=1)
    place(chooser, 2, 1)
    assert file.exists()

    del used
    place(chooser, 3, 1)
    assert {path.name for path in (tmp_path / "job").iterdir()} == {"3", "latest"}


def test_agents_that_remove_and_choose_at_once_choose_alike(tmp_path: Path) -> None:
    count = 4
    barrier = threading.Barrier(count)
    chosen: dict[int, set[str]] = {launch: set() for launch in range(8)}

    def work(rank: int) -> None:
        for launch, names in chosen.items():
            chooser = layout(tmp_path, retention=1)
            barrier.wait()
            file = place(chooser, 1, rank, port=str(launch))[0]
            names.add(file.parents[1].name)
            barrier.wait()
            assert file.exists()
            barrier.wait()

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(work, rank) for rank in range(count)]:
            done.result()

    assert [len(names) for names in chosen.values()] == [1] * len(chosen)


def test_three_scale_events_and_three_failures_lose_no_file(tmp_path: Path) -> None:
    chooser = layout(tmp_path)
    sizes = (2, 4, 4, 3, 3, 2, 2)  # a change of size is a scale event
    files = [
        file
        for generation, size in enumerate(sizes, 1)
        for file in place(chooser, generation, *range(size))
    ]

    assert len(set(files)) == sum(sizes)
    assert all(file.exists() for file in files)


def test_retention_keeps_the_last_generations_of_this_run_alone(tmp_path: Path) -> None:
    other = place(layout(tmp_path, "other"), 1, 0)
    stranger = tmp_path / "job" / "notes"
    stranger.mkdir(parents=True)
    chooser = layout(tmp_path, retention=2)
    for generation in range(1, 5):
        newest = place(chooser, generation, 0)
        os.utime(newest[0].parents[1], ns=(generation * 10**9, generation * 10**9))

    kept = {entry.name for entry in (tmp_path / "job").iterdir()}
    assert kept == {"3", "4", "latest", "notes"}
    assert other[0].exists()


def test_retention_goes_by_age_where_a_run_began_anew(tmp_path: Path) -> None:
    for generation in (8, 9):
        file = place(layout(tmp_path), generation, 0)[0]
        os.utime(file.parents[1], ns=(generation, generation))
    place(layout(tmp_path, retention=2), 1, 0)

    assert {entry.name for entry in (tmp_path / "job").iterdir()} == {
        *("1", "9"),
        "latest",
    }


def test_nothing_is_made_where_no_file_is_wanted(tmp_path: Path) -> None:
    quiet = WorkerRoutes(stdout=Route(), stderr=Route(console=False))
    logs = layout(tmp_path).place(workers(1, 0), {0: quiet})

    assert logs.workers[0].stdout.path == logs.workers[0].stderr.path == ""
    assert logs.workers[0].stdout.console
    assert not logs.workers[0].stderr.console
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_directory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    chooser = DefaultLayout(
        LogLayoutParameters(run_id="job", output=OutputSettings(redirects="3"))
    )
    with caplog.at_level(logging.WARNING):
        first, second = place(chooser, 1, 0), place(chooser, 2, 0)

    (root,) = tmp_path.iterdir()
    assert first[0].is_relative_to(root)
    assert second[0].is_relative_to(root)
    assert caplog.text.count(f"workers' output is kept in {root}") == 1


def test_the_directory_of_the_run_is_named_and_linked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chooser = layout(tmp_path)
    with caplog.at_level(logging.WARNING):
        place(chooser, 1, 0)
        place(chooser, 2, 0)

    assert caplog.text.count(f"workers' output is kept in {tmp_path / 'job'}\n") == 1
    assert (tmp_path / "latest").readlink() == Path("job")


@pytest.mark.parametrize("run_id", [".", "..", "latest"])
def test_no_run_id_leads_out_of_the_directory(run_id: str, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    (file,) = place(layout(logs, run_id), 1, 0)

    assert file.resolve().is_relative_to(logs)
    assert file.parents[2].resolve() != logs


def test_a_directory_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SpawnError, match=r"can't keep logs: .*--log-dir"):
        place(layout(tmp_path / "file" / "logs"), 1, 0)
