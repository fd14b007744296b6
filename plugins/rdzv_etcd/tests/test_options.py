"""Options of both backends: what is no sensible value is refused at once."""

from typing import Any

import pytest

from elaunch_rdzv_etcd.options import EtcdOptions


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"request_timeout": 0.0}, "'request_timeout' must be greater than 0"),
        ({"request_timeout": float("nan")}, "'request_timeout' must be greater than 0"),
        (
            {"request_timeout": float("inf")},
            "'request_timeout' is at most 2,000,000 s, not inf",
        ),
        ({"connect_timeout": -1.0}, "'connect_timeout' must be greater than 0"),
        ({"job_ttl": 0.0}, "'job_ttl' must be greater than 0"),
        ({"job_ttl": float("inf")}, "'job_ttl' is at most 9,000,000,000 s, not inf"),
        ({"job_ttl": 1e30}, "'job_ttl' is at most 9,000,000,000 s, not 1e\\+30"),
        ({"lease_ttl": float("inf")}, "^'lease_ttl' is at most 9,000,000,000 s, not"),
        ({"lease_ttl": 1e30}, "^'lease_ttl' is at most 9,000,000,000 s, not 1e"),
        (
            {"keep_alive_interval": float("inf")},
            "'keep_alive_interval' times 'keep_alive_max_attempt' is at most 9,",
        ),
        ({"protocol": "grpc"}, "'protocol' is 'http' or 'https', not 'grpc'"),
        ({"prefix": "elaunch"}, "'prefix' is a path"),
        ({"prefix": "/a//b"}, "'prefix' is a path"),
        ({"prefix": "/../b"}, "'prefix' is a path"),
        ({"username": "me"}, "'username' and 'password_file' go together"),
        ({"password_file": "file"}, "'username' and 'password_file' go together"),
        ({"ca_cert": "file"}, "'ca_cert' is for TLS only; add protocol=https"),
        ({"cert": "file"}, "'cert' is for TLS only; add protocol=https"),
        ({"protocol": "https", "key": "k.pem"}, "'key' is .*; add cert=FILE"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EtcdOptions(**options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"prefix": "/"},
        {"prefix": "/a/b.c-d_e/"},
        {"connect_timeout": float("inf")},
        {"lease_ttl": 9e9, "job_ttl": 9e9, "request_timeout": 2e6},
        {"username": "me", "password_file": "file"},
        {"protocol": "https", "cert": "file"},
    ],
)
def test_what_makes_sense_is_taken(options: dict[str, Any]) -> None:
    taken = EtcdOptions(**options)

    assert {name: getattr(taken, name) for name in options} == options
