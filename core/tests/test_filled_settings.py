"""What a scheduler fills of the settings, and what of it a user has said already."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from scheduler_environments import SRUN

from elaunch.cli.scheduled import scheduled
from elaunch.cli.settings import Resolved, resolve
from elaunch.plugins import load_plugins


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def filled(words: str, environment: Mapping[str, str]) -> Resolved:
    given = {**SRUN, **environment}
    resolved = resolve([*words.split(), "train.py"], given)
    return scheduled(resolved, load_plugins(), given)


GIVEN = {
    "nnodes": "2",
    "node_rank": "0",
    "rdzv_endpoint": "x:1",
    "rdzv_id": "mine",
    "nproc_per_node": "1",
}
"""Values of which none is what the scheduler says; some are what nobody has to say."""


@pytest.mark.parametrize("setting", GIVEN)
def test_whatever_a_user_says_in_any_way_a_scheduler_does_not_overwrite(
    setting: str, folder: Path
) -> None:
    value, flag = GIVEN[setting], f"--{setting.replace('_', '-')}"
    ours, pet = f"ELAUNCH_{setting.upper()}", f"PET_{setting.upper()}"
    (folder / "job.toml").write_text(f"{setting} = '{value}'")

    for words, environment, source in (
        (f"{flag} {value}", {}, flag),
        ("", {ours: value}, ours),
        ("", {pet: value}, pet),
        ("--config job.toml", {}, "job.toml"),
    ):
        found = filled(words, environment)
        assert str(getattr(found.args, setting)) == value
        assert found.sources[setting] == source


@pytest.mark.parametrize("setting", GIVEN)
def test_what_nobody_says_is_the_schedulers(setting: str) -> None:
    assert filled("", {}).sources[setting].startswith("Slurm: ")
    # Neither does who turns a switch off, or gives a text without a letter.
    off = {"ELAUNCH_STANDALONE": "0", "PET_RDZV_ID": "", "ELAUNCH_RDZV_ENDPOINT": ""}
    assert filled("", off).sources[setting].startswith("Slurm: ")
