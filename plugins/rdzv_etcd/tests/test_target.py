"""Endpoints, options, certificates and passwords."""

from pathlib import Path

import pytest

from elaunch.api import UsageError
from elaunch_rdzv_etcd.endpoints import Endpoint, parse_endpoints
from elaunch_rdzv_etcd.options import EtcdOptions
from elaunch_rdzv_etcd.server import Tls
from elaunch_rdzv_etcd.target import Target


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("etcd.example.org", Endpoint("etcd.example.org", 2379)),
        ("10.0.0.1:4001", Endpoint("10.0.0.1", 4001)),
        ("[::1]:4001", Endpoint("[::1]", 4001)),
        (" [::1] ", Endpoint("[::1]", 2379)),
        ("unix:/run/etcd.sock", Endpoint("localhost", 2379, "/run/etcd.sock")),
    ],
)
def test_an_endpoint_is_a_host_and_perhaps_a_port_or_a_socket(
    text: str, endpoint: Endpoint
) -> None:
    assert parse_endpoints(text) == (endpoint,)


def test_no_endpoint_at_all_is_refused_with_an_example() -> None:
    with pytest.raises(UsageError, match=r"needs its endpoint; write .*2379, or run"):
        Target.parse("localhost:0", EtcdOptions())


def test_a_list_of_endpoints_has_commas_and_no_doubles() -> None:
    target = Target.parse("b:1, [::1], unix:a.sock ,b:1,c", EtcdOptions())

    assert str(target) == "b:1,[::1]:2379,unix:a.sock,c:2379"


@pytest.mark.parametrize(
    ("given", "timeout"),
    [({}, 2), ({"lease_ttl": 3}, 0.5), ({"request_timeout": 1, "lease_ttl": 60}, 1)],
)
def test_a_silent_endpoint_leaves_time_to_ask_others_before_a_lease_is_over(
    given: dict[str, float], timeout: float
) -> None:
    assert Target.parse("etcd", EtcdOptions(**given)).timeout == timeout  # type: ignore[arg-type]  # any of them


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "http://etcd",
        "etcd:",
        "etcd:x",
        "::1",
        "a b",
        "e:70000",
        "a,",
        "unix:",
    ],
)
def test_a_malformed_endpoint_is_refused_with_an_example(endpoint: str) -> None:
    with pytest.raises(UsageError, match=r"endpoint .*; write"):
        Target.parse(endpoint, EtcdOptions())


def test_a_socket_in_the_file_system_has_no_tls() -> None:
    with pytest.raises(
        UsageError,
        match=r"https is not for a .* 'unix:a\.sock', .*; leave out protocol=",
    ):
        Target.parse("etcd,unix:a.sock", EtcdOptions(protocol="https"))


@pytest.mark.parametrize("name", ["ca_cert", "cert"])
def test_a_certificate_that_is_not_there_is_told_at_once(
    name: str, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing.pem")
    options = EtcdOptions(protocol="https", **{name: missing})  # type: ignore[arg-type]  # one of two

    with pytest.raises(UsageError, match=rf"{name} .*missing\.pem.* in PEM form"):
        Target.parse("etcd", options)


@pytest.mark.parametrize("apart", [False, True])
def test_a_key_with_a_pass_phrase_is_refused_and_nobody_is_asked_for_it(
    tls: Tls, locked_key: Path, *, apart: bool
) -> None:
    cert, key = str(tls.cert), str(locked_key)
    if not apart:
        with locked_key.open("ab") as file:
            file.write(tls.cert.read_bytes())
    options = EtcdOptions(
        protocol="https", cert=cert if apart else key, key=key if apart else None
    )

    with pytest.raises(
        UsageError, match=f"{key}' has a pass .*: openssl pkey -in '{key}' -out FILE"
    ):
        Target.parse("etcd", options)


def password_file(folder: Path, content: bytes, mode: int = 0o600) -> EtcdOptions:
    path = folder / "password"
    path.write_bytes(content)
    path.chmod(mode)
    return EtcdOptions(username="root", password_file=str(path))


def test_a_password_is_the_line_in_its_file_and_is_never_shown(tmp_path: Path) -> None:
    target = Target.parse("etcd", password_file(tmp_path, b" s3cret \n"))

    assert target.user is not None
    assert (target.user.name, target.user.password) == ("root", " s3cret ")
    assert "s3cret" not in repr(target)


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (b"", 0o600, "holds no password"),
        (b"\n", 0o600, "holds no password"),
        (b"\xff\xfe", 0o600, "holds no password"),
        (b"x" * 70_000, 0o600, "holds no password"),
        (b"x", 0o644, "open to other users .mode 0644.; run 'chmod 600 "),
    ],
)
def test_a_file_that_holds_no_secret_is_refused(
    tmp_path: Path, content: bytes, mode: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Target.parse("etcd", password_file(tmp_path, content, mode))


def test_a_missing_password_file_is_told_by_its_name(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    options = EtcdOptions(username="root", password_file=missing)

    with pytest.raises(UsageError, match=r"missing' can't be read: No such file"):
        Target.parse("etcd", options)
