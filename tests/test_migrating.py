"""What the page on migration says is there, is there; and it leaves nothing out."""

import argparse
import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

from elaunch.cli.parser import build_parsers


PAGE = (Path(__file__).parent.parent / "docs/migrating-from-torchrun.md").read_text()


def rows(section: str) -> list[list[str]]:
    """Return the cells of the tables below a heading."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\|( `.+)\|$", text, re.MULTILINE)
    return [[cell.strip() for cell in line.split("|")] for line in lines]


NAMES = [(row[0].strip("`"), row[1]) for row in rows("Python names")]
KEPT = [(theirs, ours.strip("`")) for theirs, ours in NAMES if ours.startswith("`")]


def found(name: str) -> object:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


@pytest.mark.parametrize(("theirs", "ours"), KEPT, ids=[theirs for theirs, _ in KEPT])
def test_every_name_that_the_page_gives_can_be_imported(theirs: str, ours: str) -> None:
    assert found(ours) is not None
    renamed = theirs.rpartition(".")[2] != ours.rpartition(".")[2]
    assert not renamed or theirs.endswith("AffinityMode")


def test_every_name_is_there_or_left_out_with_a_reason() -> None:
    for row in rows("Python names"):
        assert row[1].startswith("`elaunch.") or row[1] == "left out", row
        assert row[1] != "left out" or row[2], row


def test_modules_are_torchelastics() -> None:
    """Whoever replaces the beginning of an import finds the same end."""
    for theirs, ours in KEPT:
        if theirs.startswith("t.d.elastic."):
            module = ours.rpartition(".")[0].removeprefix("elaunch.")
            end = theirs.rpartition(".")[0].removeprefix("t.d.")
            assert end in {module, f"{module}.api"}, (theirs, ours)


def run_flags() -> set[str]:
    parser: argparse.ArgumentParser = build_parsers()[1]["run"]
    return {flag for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize("row", rows("Flags"), ids=lambda row: row[0])
def test_every_flag_that_is_the_same_is_a_flag(row: list[str]) -> None:
    assert row[1].startswith("same")
    flag = row[0].strip("`")
    assert {flag, flag.replace("-", "_").replace("__", "--", 1)} & run_flags()


def torchs_modules(package: str) -> list[ModuleType]:
    top = importlib.import_module(package)
    found = pkgutil.walk_packages(top.__path__, f"{package}.")
    return [top, *(importlib.import_module(module.name) for module in found)]


@pytest.mark.interop
def test_the_page_leaves_no_public_name_of_torch_out() -> None:
    pytest.importorskip("torch")
    told = {theirs.rpartition(".")[2] for theirs, _ in NAMES}
    missing = set()
    for module in torchs_modules("torch.distributed.elastic"):
        short = module.__name__.removeprefix("torch.distributed.elastic.")
        names = getattr(module, "__all__", ())
        missing |= {f"{short}.{name}" for name in names if name not in told}

    assert missing == set()


@pytest.mark.interop
def test_the_page_leaves_no_flag_of_torchrun_out() -> None:
    pytest.importorskip("torch")
    run = importlib.import_module("torch.distributed.run")
    flags = {
        flag
        for action in run.get_args_parser()._actions
        for flag in action.option_strings
        if flag.startswith("--") and "_" not in flag and flag != "--help"
    }

    assert flags == {row[0].strip("`") for row in rows("Flags")}
