"""Entry points of one group, found without reading what else is installed.

`importlib.metadata` takes longer to import than all that is read here, and as much
memory as a tenth of an agent: it brings a parser of e-mail. It is asked only where
something but folders is on `sys.path`, or a finder of its own knows distributions.
"""

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs


if TYPE_CHECKING:
    from importlib.metadata import Distribution


INFO, OLD_INFO = ".dist-info", ".egg-info"
FILE = "entry_points.txt"


class Point(Protocol):
    """What names a plugin; also an entry point of `importlib.metadata`."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def value(self) -> str:
        """The module, and what in it."""

    @property
    def dist(self) -> "Distribution | None":
        """The distribution it is from."""

    def load(self) -> Any:
        """Import what it stands for."""


@attrs.frozen
class FoundPoint:
    """An entry point that was read from a folder.

    Attributes:
        name: Its name.
        value: The module, and after a ``:`` what in it.
        folder: The folder with the facts of its distribution.
    """

    name: str
    value: str
    folder: str

    @property
    def dist(self) -> "Distribution":
        """The distribution it is from."""
        from importlib.metadata import Distribution  # few ask

        return Distribution.at(self.folder)

    def load(self) -> Any:
        """Import what it stands for."""
        module, _, path = self.value.partition("[")[0].replace(" ", "").partition(":")
        found: Any = importlib.import_module(module)
        for name in filter(None, path.split(".")):
            found = getattr(found, name)
        return found


def entry_points(group: str) -> Iterable[Point]:
    """Return the entry points of a group; of two distributions of one name the first.

    Args:
        group: Name of the group.
    """
    places = list(_places())
    if not _only_folders(places):
        from importlib import metadata

        return metadata.entry_points(group=group)
    folders: dict[str, str] = {}
    for place in places:
        for name in _facts(place or os.curdir):
            # As names of distributions are compared; what follows is the version.
            stem = name.removesuffix(INFO).removesuffix(OLD_INFO).partition("-")[0]
            key = re.sub(r"[-_.]+", "_", stem).lower()
            folders.setdefault(key, os.path.join(place, name))  # noqa: PTH118 - pathlib takes longer
    return [point for folder in folders.values() for point in _points(group, folder)]


def _places() -> Iterator[str]:
    """Yield where distributions may be: programs put paths of all kinds there."""
    for place in sys.path:
        if isinstance(place, str | os.PathLike):
            yield os.fspath(place)


def _only_folders(places: Iterable[str]) -> bool:
    """Whether nothing is installed in another way, such as in an archive or an egg."""
    return all(
        getattr(finder, "__name__", "") == "PathFinder"
        or not hasattr(finder, "find_distributions")
        for finder in sys.meta_path
    ) and not any(
        os.path.isfile(place) or place.endswith(".egg")  # noqa: PTH113 - likewise
        for place in places
    )


def _facts(place: str) -> Iterator[str]:
    with contextlib.suppress(OSError, ValueError):
        for name in os.listdir(place):  # noqa: PTH208 - likewise
            if name.endswith((INFO, OLD_INFO)):
                yield name


def _points(group: str, folder: str) -> Iterator[FoundPoint]:
    try:
        # Whoever writes another encoding must not keep all others from being found.
        text = (Path(folder) / FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[]")
        elif section == group and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield FoundPoint(name.strip(), value.strip(), folder)
