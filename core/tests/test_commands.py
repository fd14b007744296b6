"""Subcommands that plugins add."""

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest


PLUGIN = """
    from elaunch.api import CommandProvider, UsageError
    from elaunch.hookspecs import hookimpl

    class Greet:
        def __init__(self, prog):
            self.prog = prog

        def run(self, arguments):
            if "--bad" in arguments:
                raise UsageError("--bad is bad")
            print(self.prog, *arguments)
            return 7

    def create(params, options):
        return Greet(params.prog)

    @hookimpl
    def elaunch_register_commands():
        return [CommandProvider(n, "a command of a test", create) for n in {names}]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    install(tmp_path, "greeter", ["greet", "run"])
    return tmp_path


def install(site: Path, plugin: str, names: list[str]) -> None:
    (site / f"{plugin}_plugin.py").write_text(dedent(PLUGIN).format(names=names))
    info = site / f"{plugin}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {plugin}\nVersion: 1.2\n"
    )
    (info / "entry_points.txt").write_text(f"[elaunch]\n{plugin} = {plugin}_plugin\n")


def elaunch(site: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "elaunch", *words],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_plugin_adds_a_command_with_arguments_and_a_status_of_its_own(
    site: Path,
) -> None:
    ended = elaunch(site, "greet", "--loud", "world", "--help")

    assert ended.stdout == "elaunch greet --loud world --help\n"
    assert ended.stderr == ""
    assert ended.returncode == 7


def test_an_error_of_a_command_is_one_message(site: Path) -> None:
    ended = elaunch(site, "greet", "--bad")

    assert ended.stderr == "elaunch: error: --bad is bad\n"
    assert ended.returncode == 2


def test_a_command_of_the_core_cannot_be_replaced(site: Path) -> None:
    ended = elaunch(site, "run", "--help")

    assert ended.stdout.startswith("usage: elaunch run [flags] script")


def test_two_plugins_with_one_command_are_told(site: Path) -> None:
    install(site, "another", ["greet"])
    ended = elaunch(site, "greet")

    assert "command 'greet' is provided twice: by 'another'" in ended.stderr
    assert ended.returncode == 3


def test_a_known_command_that_is_not_installed_prints_the_pip_line(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELAUNCH_BLOCK_PLUGINS", "rdzv_etcd")
    ended = elaunch(site, "etcd")

    assert ended.returncode == 3
    assert "no command is named 'etcd'\n" in ended.stderr
    (installed,) = re.findall(r"installed: (.*)", ended.stderr)
    assert {"'completion'", "'greet'", "'plugins'", "'run'"} <= {*installed.split(", ")}
    assert "to get 'etcd': pip install elaunch-rdzv-etcd\n" in ended.stderr


def test_the_list_of_plugins_has_the_commands(site: Path) -> None:
    listed = elaunch(site, "plugins").stdout

    assert [line.split()[:3] for line in listed.splitlines() if "a test" in line] == [
        ["command", "greet", "greeter"],
        ["command", "run", "greeter"],
    ]
