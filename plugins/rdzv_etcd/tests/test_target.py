"""Endpoints, options and certificates."""

from pathlib import Path

import pytest

from elaunch.api import UsageError
from elaunch_rdzv_etcd.options import EtcdV2Options
from elaunch_rdzv_etcd.target import Target


@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [
        ("etcd.example.org", "etcd.example.org", 2379),
        ("10.0.0.1:4001", "10.0.0.1", 4001),
        ("[::1]:4001", "[::1]", 4001),
        (" [::1] ", "[::1]", 2379),
    ],
)
def test_an_endpoint_is_a_host_and_perhaps_a_port(
    endpoint: str, host: str, port: int
) -> None:
    target = Target.parse(endpoint, EtcdV2Options())

    assert (target.host, target.port, target.protocol) == (host, port, "http")


@pytest.mark.parametrize(
    "endpoint",
    ["", "http://etcd", "etcd:", "etcd:x", "::1", "a b", "etcd:0", "e:70000"],
)
def test_a_malformed_endpoint_is_refused_with_an_example(endpoint: str) -> None:
    with pytest.raises(UsageError, match=r"endpoint .*; write"):
        Target.parse(endpoint, EtcdV2Options())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "ftp"}, "'protocol' is 'http' or 'https', not 'ftp'"),
        ({"ca_cert": "ca.pem"}, "'ca_cert' is for TLS only; add protocol=https"),
        ({"cert": "c.pem"}, "'cert' is for TLS only; add protocol=https"),
        ({"protocol": "https", "key": "k.pem"}, "'key' is .*; add cert=FILE"),
        ({"prefix": "elaunch"}, "'prefix' is a path of .*; write for example /elaunch"),
        ({"prefix": "/a//b"}, "'prefix' is a path of"),
        ({"prefix": "/a/../b"}, "'prefix' is a path of"),
        ({"request_timeout": 0.0}, "'request_timeout' must be greater than 0"),
        ({"connect_timeout": -1.0}, "'connect_timeout' must be greater than 0"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    options: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        EtcdV2Options(**options)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("prefix", ["/", "/elaunch", "/team_1/jobs.v2/"])
def test_a_prefix_is_a_directory(prefix: str) -> None:
    assert EtcdV2Options(prefix=prefix).prefix == prefix


@pytest.mark.parametrize("name", ["ca_cert", "cert"])
def test_a_certificate_that_is_not_there_is_told_at_once(
    name: str, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing.pem")
    options = EtcdV2Options(protocol="https", **{name: missing})  # type: ignore[arg-type]  # one of two

    with pytest.raises(UsageError, match=rf"{name} .*missing\.pem.* in PEM form"):
        Target.parse("etcd", options)
