"""What every plugin must do."""

import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files

import pytest

from elaunch.hookspecs import ENTRY_POINT_GROUP
from elaunch.plugins.loader import declared


class PluginContract:
    """Inherit from it in a class named ``Test...`` and set the attributes.

    Attributes:
        entry_point: Name of the plugin's entry point.
        backends: ``(kind, name)`` of each backend that it provides.
        heavy_modules: Modules that must not be imported by loading the plugin: client
            libraries and the plugin's own implementation of its ports.
    """

    entry_point: str = ""
    backends: frozenset[tuple[str, str]] = frozenset()
    heavy_modules: tuple[str, ...] = ()

    @pytest.fixture
    def point(self) -> EntryPoint:
        """The plugin's entry point, as it is installed."""
        found = entry_points(group=ENTRY_POINT_GROUP, name=self.entry_point)
        assert len(found) == 1, f"install the plugin {self.entry_point!r} first"
        return next(iter(found))

    def test_it_declares_its_backends(self, point: EntryPoint) -> None:
        """Every hook is one that exists, and returns providers whose options exist."""
        providers = declared(point.name, point.load())
        names = {(kind, p.name) for kind, items in providers.items() for p in items}

        assert names == self.backends
        for items in providers.values():
            for provider in items:
                provider.options_class()  # which is imported only when it is chosen

    def test_loading_it_is_light(self, point: EntryPoint) -> None:
        """A scan of all plugins costs milliseconds: nothing heavy is imported."""
        code = (
            f"import sys, {point.module}; "
            f"print(*(m for m in {self.heavy_modules!r} if m in sys.modules))"
        )
        loaded = subprocess.run(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )

        assert loaded.stdout.split() == []

    def test_it_is_typed(self, point: EntryPoint) -> None:
        """Its users' type checkers see its annotations."""
        assert files(point.module.partition(".")[0]).joinpath("py.typed").is_file()
