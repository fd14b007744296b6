import asyncio
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from elaunch import get_rdzv_handler
from elaunch.api import (
    BootstrapParameters,
    RendezvousOptions,
    RendezvousParameters,
    StoreRendezvous,
    UsageError,
)
from elaunch.plugins import load_plugins
from elaunch_rdzv_c10d.bootstrap import C10dBootstrap
from elaunch_rdzv_c10d.options import BootstrapOptions, C10dOptions, StaticOptions
from elaunch_rdzv_c10d.plugin import (
    elaunch_register_bootstraps,
    elaunch_register_rendezvous,
)


def test_it_provides_two_rendezvous() -> None:
    params = RendezvousParameters(backend="x", run_id="job", endpoint="localhost:0")
    options = {"c10d": C10dOptions, "static": StaticOptions}
    providers = tuple(elaunch_register_rendezvous())

    assert {provider.name: provider.options for provider in providers} == options
    for provider in providers:
        handler = provider.create(params, provider.options_class()())
        assert isinstance(handler, StoreRendezvous)


def test_a_malformed_endpoint_is_told_at_once() -> None:
    provider, _ = elaunch_register_rendezvous()
    params = RendezvousParameters(backend="c10d", run_id="job", endpoint="a:b")

    with pytest.raises(UsageError, match="'a:b' is not an endpoint"):
        provider.create(params, C10dOptions())


@pytest.mark.asyncio
@pytest.mark.parametrize("spelling", ["file", "FILE"])
async def test_its_store_can_lie_in_a_directory(tmp_path: Path, spelling: str) -> None:
    params = RendezvousParameters(
        backend="c10d",
        run_id="job",
        endpoint=str(tmp_path / "meet"),
        config={"store_type": spelling, "last_call_timeout": "0"},
    )
    handler = get_rdzv_handler(params)
    async with asyncio.timeout(10):
        place = await handler.join()
        kept = list((tmp_path / "meet").iterdir())
        await handler.aclose()

    assert place.group_size == 1
    assert kept


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"store_type": "hash"}, "'store_type' is tcp or file, not 'hash'"),
        ({"store_type": "file"}, "store_type=file meets in a directory, .* 'host:1'"),
    ],
)
def test_a_store_of_no_known_kind_is_told_at_once(
    config: dict[str, str], message: str
) -> None:
    params = RendezvousParameters(
        backend="c10d", run_id="job", endpoint="host:1", config=config
    )

    with pytest.raises(UsageError, match=message):
        get_rdzv_handler(params)


def test_it_provides_a_bootstrap() -> None:
    (provider,) = elaunch_register_bootstraps()
    params = BootstrapParameters("job", "127.0.0.1")

    assert provider.name == "c10d"
    assert provider.options is BootstrapOptions
    assert isinstance(provider.create(params, BootstrapOptions()), C10dBootstrap)


def test_a_kind_of_peers_that_does_not_exist_is_told_at_once() -> None:
    bootstraps = load_plugins().bootstraps
    params = BootstrapParameters("job", "127.0.0.1")

    bootstraps.build("c10d:peers=Any", "--bootstrap", params)
    with pytest.raises(UsageError, match="'peers' is members or any, not 'all'"):
        bootstraps.build("c10d:peers=all", "--bootstrap", params)


def names(options: type[attrs.AttrsInstance]) -> set[str]:
    return {field.name for field in attrs.fields(options)}


def test_options_are_those_of_every_rendezvous_and_a_few_more() -> None:
    times = {"connect_timeout", "read_timeout", "heartbeat_timeout"}
    secure = {"token_file", "tls_cert", "tls_key", "tls_ca", "tls_check_host"}
    common = names(RendezvousOptions) | secure

    assert names(C10dOptions) == common | {"is_host", "store_type", *times}
    assert names(StaticOptions) == common | {"rank"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"tls_cert": "c", "tls_ca": "a"},
            "'tls_cert', 'tls_key' and 'tls_ca' together; 'tls_key' not given",
        ),
        ({"tls_key": "k"}, "'tls_cert' and 'tls_ca' not given"),
        ({"tls_check_host": "no"}, "'tls_check_host' needs 'tls_cert', 'tls_key'"),
    ],
)
@pytest.mark.parametrize("backend", ["c10d", "static"])
def test_tls_is_asked_for_as_a_whole(
    backend: str, config: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        get_rdzv_handler(
            RendezvousParameters(
                backend=backend, run_id="job", endpoint="host:1", config=config
            )
        )


@pytest.mark.parametrize("name", ["token_file", "tls_cert"])
def test_a_directory_takes_nothing_that_protects_a_server(name: str) -> None:
    files = {"tls_cert": "c", "tls_key": "k", "tls_ca": "a"}
    given = {"token_file": "t"} if name == "token_file" else files
    params = RendezvousParameters(
        backend="c10d",
        run_id="job",
        endpoint="./meet",
        config={"store_type": "file", **given},
    )

    with pytest.raises(UsageError, match=r"a directory .* is protected by its mode"):
        get_rdzv_handler(params)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (C10dOptions(), 60),
        (C10dOptions(read_timeout=5), 5),
        (C10dOptions(connect_timeout=7), 7),
        (C10dOptions(connect_timeout=7, read_timeout=5), 7),
    ],
)
def test_the_more_specific_name_of_the_time_to_connect_wins(
    options: C10dOptions, limit: float
) -> None:
    assert options.connect_limit == limit


@pytest.mark.parametrize("name", ["connect_timeout", "read_timeout"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_time_to_connect_is_positive(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"'{name}' must be > 0"):
        C10dOptions(**{name: value})  # type: ignore[arg-type] # times only


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def test_the_plugin_is_light() -> None:
    loaded = loaded_by("elaunch_rdzv_c10d.plugin")

    assert {name for name in loaded if name.startswith("elaunch_rdzv_c10d.")} == {
        f"elaunch_rdzv_c10d.{name}" for name in ("options", "plugin")
    }


def test_a_worker_loads_the_standard_library_only() -> None:
    loaded = loaded_by("elaunch_rdzv_c10d.client")

    assert not loaded & {"elaunch", "attrs", "attr", "msgspec", "asyncio"}
