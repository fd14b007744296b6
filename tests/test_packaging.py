"""Five distributions, one version, each with what a distribution must have."""

import importlib
import importlib.metadata
import tomllib
from pathlib import Path
from typing import Any

import pytest


ROOT = Path(__file__).parent.parent
FOLDERS = ("core", *sorted(f"plugins/{p.name}" for p in (ROOT / "plugins").iterdir()))


def project(folder: str) -> dict[str, Any]:
    text = (ROOT / folder / "pyproject.toml").read_text()
    table: dict[str, Any] = tomllib.loads(text)["project"]
    return table


def test_there_are_five_distributions() -> None:
    names = [project(folder)["name"] for folder in FOLDERS]

    assert names == [
        "elaunch",
        "elaunch-events-log",
        "elaunch-rdzv-c10d",
        "elaunch-rdzv-etcd",
        "elaunch-spawn-local",
    ]


def test_all_have_one_version() -> None:
    assert len({project(folder)["version"] for folder in FOLDERS}) == 1


def test_the_changelog_knows_the_version() -> None:
    version = project("core")["version"]

    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("folder", FOLDERS[1:])
def test_a_plugin_requires_the_core_of_its_minor_version(folder: str) -> None:
    major, minor, _ = project("core")["version"].split(".")

    assert f"elaunch~={major}.{minor}.0" in project(folder)["dependencies"]


def test_the_standard_extra_pulls_every_plugin() -> None:
    extras = project("core")["optional-dependencies"]
    plugins = [item for item in extras["standard"] if item not in extras["prometheus"]]

    assert len(plugins) < len(extras["standard"])
    assert sorted(item.partition("~=")[0] for item in plugins) == sorted(
        project(folder)["name"] for folder in FOLDERS[1:]
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_distribution_is_typed_documented_and_declared(folder: str) -> None:
    table = project(folder)
    points = table["entry-points"]["elaunch"]

    assert (ROOT / folder / "README.md").read_text().startswith(f"# {table['name']}")
    assert list((ROOT / folder / "src").glob("*/py.typed"))
    for module in points.values():
        importlib.import_module(module)


def test_no_distribution_requires_a_framework() -> None:
    for folder in FOLDERS:
        needed = " ".join(project(folder)["dependencies"])

        assert "torch" not in needed
        assert "numpy" not in needed
