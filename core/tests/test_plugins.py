"""The plugin system: what is installed is found, what is broken is data."""

import re
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from elaunch.cli.plugins import show
from elaunch.config import LaunchConfig
from elaunch.errors import (
    DuplicateBackend,
    InvalidProvider,
    PluginFailed,
    UnknownBackend,
    UsageError,
)
from elaunch.events import discard
from elaunch.launcher import get_rdzv_handler
from elaunch.launcher.ports import Ports
from elaunch.plugins import Plugins, Status, load_plugins
from elaunch.plugins.loader import load
from elaunch.policy import PolicyParameters
from elaunch.rendezvous import RendezvousParameters


POLICY = """
    from elaunch.api import BudgetPolicy, Provider
    from elaunch.hookspecs import hookimpl

    def create(params, options):
        return BudgetPolicy(99)

    @hookimpl
    def elaunch_register_restart_policies():
        return [Provider("{name}", "a policy of a test", create)]
"""


class Site:
    """A folder on `sys.path` with distributions in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(self, distribution: str, plugin: str, code: str) -> None:
        module = f"{distribution.replace('-', '_')}_plugin"
        (self.path / f"{module}.py").write_text(dedent(code))
        info = self.path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n"
        )
        (info / "entry_points.txt").write_text(f"[elaunch]\n{plugin} = {module}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Site(tmp_path)


def policy(plugins: Plugins, name: str) -> object:
    return plugins.policies.create(name, PolicyParameters(1), {})


def test_a_third_partys_backend_is_found_by_name(site: Site) -> None:
    site.install("third-one", "third_one", POLICY.format(name="theirs"))
    plugins = Plugins(load(()))

    assert plugins.policies.find("theirs").plugin.origin == "third-one 1.2"
    assert policy(plugins, "theirs") is not None
    assert "default" in plugins.policies


def test_a_broken_plugin_is_data(site: Site) -> None:
    site.install("broken-two", "broken_two", "import no_such_library_at_all")
    plugins = Plugins(load(()))
    (broken,) = [p for p in plugins.loaded if p.name == "broken_two"]

    assert broken.status is Status.FAILED
    assert broken.reason.startswith("ModuleNotFoundError: No module named 'no_such")
    assert broken.error is not None
    assert policy(plugins, "default") is not None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            """
            from elaunch.hookspecs import hookimpl

            @hookimpl
            def elaunch_register_rendezvouz():
                return ()
            """,
            "unknown hook 'elaunch_register_rendezvouz'",
        ),
        (
            """
            from elaunch.hookspecs import hookimpl

            @hookimpl
            def elaunch_register_monitors(wrong):
                return ()
            """,
            "wrong",
        ),
        (
            """
            from elaunch.hookspecs import hookimpl

            @hookimpl
            def elaunch_register_monitors():
                return ["not a provider"]
            """,
            "InvalidProvider: .*must return Provider objects, not str",
        ),
        (
            """
            from elaunch.api import Provider
            from elaunch.hookspecs import hookimpl

            @hookimpl
            def elaunch_register_monitors():
                return [Provider("Bad Name", "summary", print)]
            """,
            "lower-case letters, digits and '-', not 'Bad Name'",
        ),
    ],
)
def test_a_wrong_declaration_fails_only_its_plugin(
    site: Site, code: str, reason: str, request: pytest.FixtureRequest
) -> None:
    import re

    number = request.node.callspec.indices["code"]
    site.install(f"wrong-{number}", f"wrong_{number}", code)
    (wrong,) = [p for p in load(()) if p.name == f"wrong_{number}"]

    assert wrong.status is Status.FAILED
    assert re.search(reason, wrong.reason)


def test_duplicate_names_matter_when_asked_for(site: Site) -> None:
    site.install("twin-a", "twin_a", POLICY.format(name="twin"))
    site.install("twin-b", "twin_b", POLICY.format(name="twin"))
    plugins = Plugins(load(()))

    assert policy(plugins, "default") is not None
    with pytest.raises(DuplicateBackend) as caught:
        policy(plugins, "twin")

    assert str(caught.value) == (
        "restart policy 'twin' is provided twice: by 'twin_a' (twin-a 1.2) and by "
        "'twin_b' (twin-b 1.2); block one with --block-plugin twin_b or "
        "ELAUNCH_BLOCK_PLUGINS=twin_b"
    )
    assert policy(Plugins(load(("twin_b",))), "twin") is not None


def test_two_entry_points_of_one_name_are_told_apart(site: Site) -> None:
    site.install("same-a", "same", POLICY.format(name="same"))
    site.install("same-b", "same", POLICY.format(name="same"))

    with pytest.raises(DuplicateBackend, match="--block-plugin same-b"):
        policy(Plugins(load(())), "same")
    assert policy(Plugins(load(("same-b",))), "same") is not None


def test_a_blocked_plugin_is_not_even_imported(site: Site) -> None:
    site.install("boom", "boom", "raise SystemExit('imported')")
    (blocked,) = [p for p in load(("boom",)) if p.name == "boom"]

    assert blocked.status is Status.BLOCKED


def test_the_environment_blocks_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("boom-two", "boom_two", "raise SystemExit('imported')")
    monkeypatch.setenv("ELAUNCH_BLOCK_PLUGINS", "events_log, boom_two")
    plugins = load_plugins(("spawn_local",))
    blocked = {p.name for p in plugins.loaded if p.status is Status.BLOCKED}

    assert blocked == {"boom_two", "events_log", "spawn_local"}


def test_an_unknown_name_lists_what_exists_and_suggests(site: Site) -> None:
    site.install("third-six", "third_six", POLICY.format(name="gentle"))
    plugins = Plugins(load(("spawn_local",)))

    with pytest.raises(UnknownBackend) as caught:
        policy(plugins, "gentel")

    text = str(caught.value)
    assert "no restart policy backend is named 'gentel'; did you mean 'gentle'?" in text
    assert "installed: 'default', 'gentle'" in text
    assert "blocked plugins: 'spawn_local'" in text


def test_a_known_name_prints_the_pip_line() -> None:
    plugins = Plugins(load(("rdzv_c10d",)))
    params = RendezvousParameters(backend="c10d", run_id="x")

    with pytest.raises(UnknownBackend, match="pip install elaunch-rdzv-c10d"):
        get_rdzv_handler(params, plugins=plugins)


def test_the_failure_of_the_plugin_that_was_asked_for_is_the_error(site: Site) -> None:
    site.install("elaunch-rdzv-etcd", "mine", "import no_such_library_at_all")
    plugins = Plugins(load(("rdzv_etcd",)))
    params = RendezvousParameters(backend="etcd-v2", run_id="x")

    with pytest.raises(PluginFailed, match="ModuleNotFoundError") as caught:
        get_rdzv_handler(params, plugins=plugins)

    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert caught.value.status == 3


def test_what_create_raises_is_wrapped_with_its_cause(site: Site) -> None:
    code = """
        from elaunch.api import Provider
        from elaunch.hookspecs import hookimpl

        def create(params, options):
            raise OSError("no such device")

        @hookimpl
        def elaunch_register_restart_policies():
            return [Provider("raises", "a policy of a test", create)]
    """
    site.install("third-nine", "third_nine", code)

    with pytest.raises(PluginFailed, match="OSError: no such device") as caught:
        policy(Plugins(load(())), "raises")

    assert isinstance(caught.value.__cause__, OSError)


PLACED = """
    import attrs
    from elaunch.api import Provider
    from elaunch.hookspecs import hookimpl

    @attrs.frozen
    class NoDefault:
        x: int

    class Plain:
        pass

    def create(params, options):
        return None

    @hookimpl
    def elaunch_register_monitors():
        return [Provider("placed", "a monitor of a test", create, "{place}")]
"""


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("third_ten_plugin:Typo", "AttributeError: .* has no attribute 'Typo'"),
        ("no_such_module_at_all:X", "ModuleNotFoundError: No module named"),
        ("third_ten_plugin:Plain", "ValueError: options must be an attrs class"),
        ("third_ten_plugin:create", "ValueError: options must be an attrs class"),
        ("third_ten_plugin:NoDefault", "ValueError: .* NoDefault.x has none"),
        ("third_ten_exits:X", "SystemExit: 3"),
    ],
)
def test_options_at_a_wrong_place_are_told_with_who_named_it(
    site: Site,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    why: str,
) -> None:
    monkeypatch.delitem(sys.modules, "third_ten_plugin", raising=False)
    site.install("third-ten", "third_ten", PLACED.format(place=place))
    (site.path / "third_ten_exits.py").write_text("raise SystemExit(3)\n")
    monitors = Plugins(load(())).monitors

    with pytest.raises(PluginFailed, match=why) as caught:
        monitors.options("placed", {})
    show(as_json=False, tracebacks=True, block=(place,))  # each is loaded once

    told = str(caught.value)
    assert told.startswith("plugin 'third_ten' of third-ten 1.2 failed: ")
    assert f"of monitor 'placed' ({place})" in told
    shown = capsys.readouterr().out
    assert re.search(rf"monitor +placed +.* failed .* options {place}: {why}", shown)
    assert re.search(rf"plugin 'third_ten' of third-ten 1.2:\n(.*\n)+{why}", shown)


def test_a_module_that_exits_takes_no_command_with_it(site: Site) -> None:
    site.install("third-nil", "third_nil", "raise SystemExit(0)")
    (plugin,) = [p for p in load(()) if p.name == "third_nil"]

    assert (plugin.status, plugin.reason) == (Status.FAILED, "SystemExit: 0")


def test_a_preflight_without_options_is_the_fault_of_its_plugin(site: Site) -> None:
    code = """
        from elaunch.api import PreflightProvider
        from elaunch.hookspecs import hookimpl

        @hookimpl
        def elaunch_register_preflights():
            create = lambda params, options: object()
            return [PreflightProvider("bare", "a check of a test", create)]
    """
    site.install("third-bare", "third_bare", code)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=1, preflights=("bare",)
    )

    with pytest.raises(
        PluginFailed, match=r"'third_bare' .* 'bare' must have 'options'"
    ):
        Ports(config, Plugins(load(()))).preflights(discard)


def test_options_of_a_backend_are_checked() -> None:
    with pytest.raises(UsageError, match="there is no option 'x'"):
        Plugins(load(())).policies.create("default", PolicyParameters(1), {"x": "1"})


def test_get_rdzv_handler_resolves_through_entry_points() -> None:
    params = RendezvousParameters(
        backend="c10d", endpoint="localhost:0", run_id="job", min_nodes=1, max_nodes=2
    )
    handler = get_rdzv_handler(params)

    assert (handler.backend, handler.run_id) == ("c10d", "job")


def test_unknown_rdzv_conf_keys_are_refused() -> None:
    params = RendezvousParameters(
        backend="c10d", run_id="job", config={"join_timout": "5"}
    )

    with pytest.raises(UsageError, match="did you mean 'join_timeout'"):
        get_rdzv_handler(params)


def test_invalid_provider_is_a_plugin_error() -> None:
    assert InvalidProvider("p", "rule").status == 3


def test_a_name_that_blocks_nothing_is_told(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.install("boom", "boom_one", POLICY.format(name="x"))

    load_plugins(["boom_on", "boom"])

    (told,) = caplog.messages
    assert told == (
        "no plugin or distribution to block is named 'boom_on'; did you mean "
        "'boom_one'?"
    )
