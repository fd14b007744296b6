import subprocess
import sys

import attrs
import pytest

from elaunch.api import (
    BootstrapParameters,
    NoOptions,
    RendezvousParameters,
    StoreRendezvous,
    UsageError,
)
from elaunch_rdzv_c10d.bootstrap import C10dBootstrap
from elaunch_rdzv_c10d.options import C10dOptions
from elaunch_rdzv_c10d.plugin import (
    elaunch_register_bootstraps,
    elaunch_register_rendezvous,
)


def test_it_provides_a_rendezvous() -> None:
    (provider,) = elaunch_register_rendezvous()
    params = RendezvousParameters(backend="c10d", run_id="job")

    assert provider.name == "c10d"
    assert provider.options is C10dOptions
    assert isinstance(provider.create(params, C10dOptions()), StoreRendezvous)


def test_a_malformed_endpoint_is_told_at_once() -> None:
    (provider,) = elaunch_register_rendezvous()
    params = RendezvousParameters(backend="c10d", run_id="job", endpoint="a:b")

    with pytest.raises(UsageError, match="'a:b' is not an endpoint"):
        provider.create(params, C10dOptions())


def test_it_provides_a_bootstrap() -> None:
    (provider,) = elaunch_register_bootstraps()
    params = BootstrapParameters("job", "127.0.0.1")

    assert provider.name == "c10d"
    assert isinstance(provider.create(params, NoOptions()), C10dBootstrap)


def test_options_are_those_of_every_rendezvous_and_two_more() -> None:
    names = {field.name for field in attrs.fields(C10dOptions)}

    assert {"is_host", "connect_timeout", "join_timeout", "reconnect_grace"} <= names
    assert "read_timeout" not in names
    with pytest.raises(ValueError, match="connect_timeout"):
        C10dOptions(connect_timeout=0)


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
