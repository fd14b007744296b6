"""Options under the names that torchelastic has for them."""

import pytest

from elaunch import get_rdzv_handler
from elaunch.api import RendezvousParameters, UsageError
from elaunch_rdzv_etcd.options import EtcdOptions, GivenOptions


NAMES = {
    "ssl_cert": ("cert", "c.pem"),
    "ssl_cert_key": ("key", "k.pem"),
    "cacert": ("ca_cert", "ca.pem"),
    "etcd_prefix": ("prefix", "/torch/jobs"),
    "read_timeout": ("connect_timeout", 90.0),
}
TLS = {"protocol": "https", "cert": "c.pem"}


def options(**given: object) -> GivenOptions:
    return GivenOptions(**{**TLS, **given})  # type: ignore[arg-type]  # any of them


def test_what_is_not_said_is_as_in_torchelastic() -> None:
    plain = GivenOptions().plain()

    assert (plain.protocol, plain.connect_timeout, plain.job_ttl) == ("http", 60, 7200)


@pytest.mark.parametrize("other", NAMES)
def test_torchelastics_names_mean_ours(other: str) -> None:
    name, value = NAMES[other]

    plain = options(**{other: value}).plain()

    assert plain == EtcdOptions(**{**TLS, name: value})  # type: ignore[arg-type]  # one
    assert options(**{other: value, name: value}).plain() == plain


def test_a_pair_of_files_may_be_given_under_mixed_names() -> None:
    given = GivenOptions(protocol="https", ssl_cert="c.pem", key="k.pem")

    assert (given.plain().cert, given.plain().key) == ("c.pem", "k.pem")


@pytest.mark.parametrize("other", NAMES)
def test_two_values_of_one_option_are_refused_with_both_names(other: str) -> None:
    name, value = NAMES[other]
    different = 30.0 if isinstance(value, float) else "/different"

    message = f"'{name}' is .*, but its other name '{other}' is .*; give one of them"
    with pytest.raises(ValueError, match=message):
        options(**{other: value, name: different})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"protocol": "ftp"}, "'protocol' .*http.*https.* not 'ftp'"),
        ({"read_timeout": 0.0}, "'read_timeout' must be greater than 0"),
        ({"heartbeat_timeout": -1.0}, "'heartbeat_timeout' must be greater than 0"),
        ({"etcd_prefix": "jobs"}, "'etcd_prefix' is a path of"),
        ({"ssl_cert": "c.pem"}, "'ssl_cert' is for TLS only; add protocol=https"),
        ({"protocol": "https", "ssl_cert_key": "k.pem"}, "'key' is .*; add cert=FILE"),
    ],
)
def test_what_makes_no_sense_is_refused_under_its_name(
    given: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        GivenOptions(**given)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("backend", ["etcd", "etcd-v2"])
def test_what_a_user_of_torchrun_writes_is_understood(backend: str) -> None:
    with pytest.raises(
        UsageError, match=r"'prefix' is '/a', but its other name 'etcd_prefix' is '/b'"
    ):
        get_rdzv_handler(
            RendezvousParameters(
                backend=backend,
                endpoint="etcd",
                run_id="job",
                config={
                    "protocol": "http",
                    "timeout": "900",
                    "last_call_timeout": "30",
                    "read_timeout": "60",
                    "prefix": "/a",
                    "etcd_prefix": "/b",
                },
            )
        )


def test_no_timeout_of_torchelastic_lets_a_request_hang_longer() -> None:
    assert GivenOptions(read_timeout=60.0).plain().request_timeout == 2.0
    assert GivenOptions(heartbeat_timeout=60.0).plain().request_timeout == 2.0
    assert GivenOptions(heartbeat_timeout=0.5).plain().request_timeout == 0.5
