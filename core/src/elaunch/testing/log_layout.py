"""What every log layout must do."""

from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

from elaunch.api import GroupLogs, LogLayout, Route, WorkerRoutes, WorkerSpec
from elaunch.testing.groups import worker


_FILE = Route(file=True, console=False)
_BOTH = Route(file=True)
_ROUTES: Mapping[int, WorkerRoutes] = {
    rank: WorkerRoutes(stdout=_FILE, stderr=_BOTH) for rank in (0, 1)
}


def _workers(generation: int, base: int = 0) -> list[WorkerSpec]:
    specs = [worker(local_rank) for local_rank in (0, 1)]
    return [
        attrs.evolve(
            spec,
            ranks=attrs.evolve(spec.ranks, rank=base + spec.ranks.local_rank),
            names={"generation": str(generation), "run_id": "job"},
        )
        for spec in specs
    ]


def _written(logs: GroupLogs) -> list[Path]:
    """Begin each file, which must not exist, and return them."""
    paths = [
        Path(stream.path)
        for own in logs.workers.values()
        for stream in (own.stdout, own.stderr)
    ]
    for path in paths:
        with path.open("x") as file:
            file.write("kept")
    return paths


class LogLayoutContract:
    """Inherit, override the fixture ``layout``, and run."""

    @pytest.fixture
    def layout(self) -> LogLayout:
        """Return a new log layout; must be overridden."""
        raise NotImplementedError("override the fixture 'layout'")

    def test_each_stream_that_is_wanted_gets_a_file(self, layout: LogLayout) -> None:
        """Each has one of its own, whose directory exists."""
        logs = layout.place(_workers(1), _ROUTES)

        assert logs.workers.keys() == {0, 1}
        assert len(set(_written(logs))) == 4
        assert all(Path(path).is_absolute() for path in _written_names(logs))

    def test_what_is_shown_is_as_it_was_asked(self, layout: LogLayout) -> None:
        """The console shows what the routes say."""
        logs = layout.place(_workers(1), _ROUTES)

        for own in logs.workers.values():
            assert not own.stdout.console
            assert own.stderr.console

    def test_no_file_is_chosen_twice(self, layout: LogLayout) -> None:
        """Not in another generation, nor for another node, nor once more."""
        groups = [
            *(_workers(1), _workers(1, base=2)),  # two nodes
            *(_workers(2), _workers(3)),
            _workers(1),  # a run that began anew
        ]
        paths = [p for group in groups for p in _written(layout.place(group, _ROUTES))]

        assert len(set(paths)) == 4 * len(groups)
        assert all(path.read_text() == "kept" for path in paths)

    def test_a_stream_without_a_file_has_no_path(self, layout: LogLayout) -> None:
        """Where the console alone is wanted nothing is written."""
        route = WorkerRoutes(stdout=Route(), stderr=_BOTH)
        logs = layout.place(_workers(1), dict.fromkeys((0, 1), route))

        for own in logs.workers.values():
            assert own.stdout.path == ""
            assert own.stdout.console
            assert own.stderr.path


def _written_names(logs: GroupLogs) -> list[str]:
    return [own.stdout.path for own in logs.workers.values()]
