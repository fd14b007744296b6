"""Options of the backends `etcd` and `etcd-v2` (``--rdzv-conf``)."""

import re
from collections.abc import Callable

import attrs

from elaunch.api import RendezvousOptions


_LONGEST_LIFE = 9_000_000_000  # seconds; etcd lets nothing live longer
_LONGEST_WAIT = 2_000_000  # seconds; a socket counts milliseconds in 32 bits
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def _positive(_: object, field: "attrs.Attribute[float]", value: float) -> None:
    if not value > 0:
        raise ValueError(f"{field.name!r} must be greater than 0, not {value:g}")


def _at_most(most: int) -> "Callable[[object, attrs.Attribute[float], float], None]":
    def check(_: object, field: "attrs.Attribute[float]", value: float) -> None:
        if not value <= most:
            raise ValueError(f"{field.name!r} is at most {most:,} s, not {value:g}")

    return check


def _http_or_https(_: object, field: "attrs.Attribute[str]", value: str) -> None:
    if value not in {"http", "https"}:
        raise ValueError(f"{field.name!r} is 'http' or 'https', not {value!r}")


def _needs_https(
    options: "EtcdOptions", field: "attrs.Attribute[str | None]", value: str | None
) -> None:
    if value is not None and options.protocol != "https":
        raise ValueError(f"{field.name!r} is for TLS only; add protocol=https")


def _path(_: object, field: "attrs.Attribute[str]", value: str) -> None:
    names = value.removeprefix("/").removesuffix("/").split("/")
    if value != "/" and not (value[:1] == "/" and all(map(_NAME.fullmatch, names))):
        raise ValueError(
            f"{field.name!r} is a path of letters, digits, '-', '_' and '.', "
            f"not {value!r}; write for example /elaunch"
        )


@attrs.frozen(kw_only=True)
class EtcdOptions(RendezvousOptions):
    """How to reach etcd, besides the times that every rendezvous has.

    Attributes:
        protocol: ``http`` or ``https``.
        ca_cert: File of the certificates that the server's must be signed by; without
            it those that OpenSSL trusts by default.
        cert: File of this client's certificate.
        key: File of this client's private key; without it the key is in ``cert``.
        username: Who this client is, where etcd asks for that.
        password_file: File that holds their password, which nobody else may read.
        prefix: Directory in etcd under which all jobs lie.
        request_timeout: How long one request may wait for an answer before it is
            tried again, at the next endpoint, in seconds; a sixth of the lease at most.
        connect_timeout: How long to wait for a server in seconds: at the start, and
            after an outage that has cost the lease.
        job_ttl: How long what a job has written outlives the last of its agents, in
            seconds.
    """

    protocol: str = attrs.field(default="http", validator=_http_or_https)
    ca_cert: str | None = attrs.field(default=None, validator=_needs_https)
    cert: str | None = attrs.field(default=None, validator=_needs_https)
    key: str | None = attrs.field(default=None, validator=_needs_https)
    username: str | None = None
    password_file: str | None = None
    prefix: str = attrs.field(default="/elaunch", validator=_path)
    request_timeout: float = attrs.field(
        default=2.0, validator=[_positive, _at_most(_LONGEST_WAIT)]
    )
    connect_timeout: float = attrs.field(default=60.0, validator=_positive)
    job_ttl: float = attrs.field(
        default=7200.0, validator=[_positive, _at_most(_LONGEST_LIFE)]
    )

    @property
    def sees_connections(self) -> bool:
        """Only a lease ends with its time in etcd, not with a connection."""
        return False

    def __attrs_post_init__(self) -> None:
        if self.key is not None and self.cert is None:
            raise ValueError("'key' is the key of a certificate; add cert=FILE")
        if (self.username is None) != (self.password_file is None):
            raise ValueError("'username' and 'password_file' go together; give both")
        if not self.silence_limit <= _LONGEST_LIFE:
            given = "'lease_ttl'"
            if self.lease_ttl is None:
                given = "'keep_alive_interval' times 'keep_alive_max_attempt'"
            raise ValueError(
                f"{given} is at most {_LONGEST_LIFE:,} s, not {self.silence_limit:g}"
            )


_OTHER_NAMES = {
    "ssl_cert": "cert",
    "ssl_cert_key": "key",
    "cacert": "ca_cert",
    "etcd_prefix": "prefix",
    "read_timeout": "connect_timeout",
}
"""What torchelastic's backends `etcd-v2` and `etcd` call our options."""


@attrs.frozen(kw_only=True)
class GivenOptions(EtcdOptions):
    """The same as users may give it, with the names that torchelastic has for it.

    Attributes:
        ssl_cert: Another name for ``cert``.
        ssl_cert_key: Another name for ``key``.
        cacert: Another name for ``ca_cert``.
        etcd_prefix: Another name for ``prefix``.
        read_timeout: Another name for ``connect_timeout``: torchelastic lets one
            request wait so long, and then gives up. A request that is lost with the
            leader of the cluster is never answered, so ours wait shorter, and again.
        heartbeat_timeout: How long a renewal of the lease may wait for an answer, and
            with it every request, where ``request_timeout`` is longer.
    """

    ssl_cert: str | None = attrs.field(default=None, validator=_needs_https)
    ssl_cert_key: str | None = attrs.field(default=None, validator=_needs_https)
    cacert: str | None = attrs.field(default=None, validator=_needs_https)
    etcd_prefix: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(_path)
    )
    read_timeout: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(_positive)
    )
    heartbeat_timeout: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(_positive)
    )

    def __attrs_post_init__(self) -> None:
        self.plain()

    def plain(self) -> EtcdOptions:
        """Return what was given, under the names that we have for it.

        Raises:
            ValueError: If two names of one option have different values.
        """
        fields = attrs.fields_dict(EtcdOptions)
        values = {name: getattr(self, name) for name in fields}
        for other, name in _OTHER_NAMES.items():
            given = getattr(self, other)
            if given is None:
                continue
            if values[name] not in (given, fields[name].default):
                raise ValueError(
                    f"{name!r} is {values[name]!r}, but its other name {other!r} is "
                    f"{given!r}; give one of them"
                )
            values[name] = given
        if self.heartbeat_timeout is not None:
            shortest = min(self.request_timeout, self.heartbeat_timeout)
            values["request_timeout"] = shortest
        return EtcdOptions(**values)
