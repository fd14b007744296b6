"""The cluster and how to speak to it."""

import os
import ssl
import stat
from pathlib import Path

import attrs

from elaunch.api import UsageError
from elaunch_rdzv_etcd.endpoints import Endpoint, parse_endpoints
from elaunch_rdzv_etcd.identity import load_identity
from elaunch_rdzv_etcd.options import EtcdOptions


_LONGEST_PASSWORD = 64 * 1024
_ATTEMPTS = 6  # for which the time of a lease has to do
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@attrs.frozen
class User:
    """Who we are to etcd.

    Attributes:
        name: Name of the user.
        password: Their password.
    """

    name: str
    password: str = attrs.field(repr=False)


@attrs.frozen
class Target:
    """The cluster and how to speak to it.

    Attributes:
        endpoints: Where its members listen, at least one.
        timeout: Seconds that one request may wait for an answer.
        tls: Whom to trust and who we are, or `None` for plain HTTP.
        user: Who we are to etcd's authentication, or `None`.
    """

    endpoints: tuple[Endpoint, ...]
    timeout: float
    tls: ssl.SSLContext | None = attrs.field(default=None, repr=False)
    user: User | None = None

    @classmethod
    def parse(cls, endpoints: str, options: EtcdOptions) -> "Target":
        """Read the endpoints, load the certificates and the password.

        Raises:
            UsageError: If an endpoint is malformed, or one at which there can be no
                TLS, or if a file can't be used.
        """
        found = parse_endpoints(endpoints)
        if options.protocol == "https":
            _check_tls(found)
        tls = _tls(options) if options.protocol == "https" else None
        # A member that says nothing must leave time to ask the next ones.
        timeout = min(options.request_timeout, options.silence_limit / _ATTEMPTS)
        return cls(found, timeout, tls, _user(options))

    @property
    def protocol(self) -> str:
        """``http`` or ``https``."""
        return "https" if self.tls else "http"

    def __str__(self) -> str:
        return ",".join(map(str, self.endpoints))


def _check_tls(endpoints: tuple[Endpoint, ...]) -> None:
    for endpoint in endpoints:
        if endpoint.path:
            raise UsageError(
                f"protocol=https is not for a socket like {str(endpoint)!r}, which is "
                f"used without TLS; leave out protocol=https, or give HOST:PORT"
            )


def _tls(options: EtcdOptions) -> ssl.SSLContext:
    try:
        # With a CA file given, neither the system nor the environment adds to it.
        context = ssl.create_default_context(cafile=options.ca_cert)
    except OSError as error:
        raise UsageError(
            f"ca_cert {options.ca_cert!r} can't be used: {error}; "
            f"give a file of certificates in PEM form"
        ) from error
    if options.cert is not None:
        try:
            load_identity(context, options.cert, options.key)
        except OSError as error:
            raise UsageError(
                f"cert {options.cert!r} with key {options.key!r} can't be used: "
                f"{error}; give files in PEM form that belong together"
            ) from error
    return context


def _user(options: EtcdOptions) -> User | None:
    if options.username is None or options.password_file is None:
        return None
    return User(options.username, _password(options.password_file))


def _password(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_LONGEST_PASSWORD + 1)
    except OSError as error:
        raise UsageError(
            f"the password file {path!r} can't be read: {error.strerror}"
        ) from error
    if mode & _OTHERS:
        raise UsageError(
            f"the password file {path!r} is open to other users (mode "
            f"{stat.S_IMODE(mode):04o}); run 'chmod 600 {path}'"
        )
    try:
        password = text.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        password = ""
    if not password or len(text) > _LONGEST_PASSWORD:
        raise UsageError(
            f"the password file {path!r} holds no password: it must have 1 to "
            f"{_LONGEST_PASSWORD} bytes of UTF-8 text"
        )
    return password
