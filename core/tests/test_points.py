"""Entry points are found as `importlib.metadata` finds them, without it."""

import importlib.metadata
import zipfile
from pathlib import Path

import pytest

from elaunch.plugins.points import entry_points


def install(folder: Path, info: str, text: str) -> None:
    (folder / info).mkdir(parents=True)
    (folder / info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {info.partition('-')[0]}\nVersion: 1.2\n"
    )
    (folder / info / "entry_points.txt").write_text(text)


def found(group: str) -> set[tuple[str, str]]:
    return {(point.name, point.value) for point in entry_points(group)}


def standard(group: str) -> set[tuple[str, str]]:
    points = importlib.metadata.entry_points(group=group)
    return {(point.name, point.value) for point in points}


@pytest.mark.parametrize("group", ["elaunch", "console_scripts", "pytest11", "none"])
def test_what_is_installed_here_is_found(group: str) -> None:
    assert found(group) == standard(group)


def test_a_file_is_read_as_it_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "[other]\nx = y\n\n# [g]\n[g]\n# a = b\none=os.path\ntwo = os.path:join [x]\n"
    )
    install(tmp_path, "site_one-1.2.dist-info", text)
    install(tmp_path, "old.egg-info", "[g]\nold = os")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = {point.name: point for point in entry_points("g")}

    assert found("g") == standard("g")
    assert points.keys() == {"one", "two", "old"}
    assert points["two"].load() is __import__("os").path.join
    dist = points["one"].dist
    assert dist is not None
    assert (dist.name, dist.version) == ("site_one", "1.2")


def test_what_is_first_on_the_path_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "first", "site_one-2.dist-info", "[g]\nit = new\n")
    install(tmp_path / "then", "Site.One-1.dist-info", "[g]\nit = old\n")
    for folder in ("then", "first"):
        monkeypatch.syspath_prepend(str(tmp_path / folder))

    assert found("g") == standard("g") == {("it", "new")}


def test_in_an_archive_they_are_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "site.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("zipped-1.2.dist-info/METADATA", "Name: zipped\nVersion: 1.2\n")
        file.writestr("zipped-1.2.dist-info/entry_points.txt", "[g]\nit = os\n")
    monkeypatch.syspath_prepend(str(archive))

    assert found("g") == {("it", "os")}


def test_paths_of_all_kinds_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "one", "one-1.dist-info", "[g]\r\nit = os\r\n")
    install(tmp_path / "two", "two-1.dist-info", "[g]\nthat = sys\n")
    monkeypatch.chdir(tmp_path)
    kinds = [tmp_path / "one", "two", "", "none", "two", b"bytes", "nul\0", "/dev/null"]
    monkeypatch.setattr("sys.path", kinds)

    assert found("g") == {("it", "os"), ("that", "sys")}


def test_who_writes_nonsense_hides_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "one-1.dist-info", "[g]\nit = os\n")
    install(tmp_path, "two-1.dist-info", "")
    (tmp_path / "two-1.dist-info/entry_points.txt").write_bytes(b"\xe9\n[g]\nb = \xff")
    install(tmp_path, "bare-1.dist-info", "[g]\nbare = os\n")
    (tmp_path / "bare-1.dist-info/METADATA").unlink()
    (tmp_path / "three-1.dist-info").symlink_to("nowhere")
    monkeypatch.setattr("sys.path", [str(tmp_path)])

    assert found("g") == {("it", "os"), ("b", "\ufffd"), ("bare", "os")}
