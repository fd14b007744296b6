"""Options of the rendezvous `c10d` and `static`, and of the bootstrap `c10d`."""

import attrs

from elaunch.api import RendezvousOptions


STORE_TYPES = ("tcp", "file")
"""Where the store can be: in a server, or in a directory."""


TLS_FILES = ("tls_cert", "tls_key", "tls_ca")
"""Options that make TLS, together."""

MEMBERS, ANY = "members", "any"
"""Who may connect to the workers' store of a generation."""


def _lower(text: str) -> str:
    return text.lower()


def _store_type(_: object, __: object, value: str) -> None:
    if value not in STORE_TYPES:
        raise ValueError(f"'store_type' is tcp or file, not {value!r}")


def _peers(_: object, __: object, value: str) -> None:
    if value not in (MEMBERS, ANY):
        raise ValueError(f"'peers' is {MEMBERS} or {ANY}, not {value!r}")


@attrs.frozen(kw_only=True)
class BootstrapOptions:
    """Options of the bootstrap (``--bootstrap c10d:...``).

    Attributes:
        peers: Who may connect to the workers' store: ``members``: only addresses of the
            generation's nodes. ``any``: whoever reaches it.
    """

    peers: str = attrs.field(default=MEMBERS, converter=_lower, validator=_peers)


@attrs.frozen(kw_only=True)
class StoreOptions(RendezvousOptions):
    """Times in seconds, those of every rendezvous included.

    Attributes:
        token_file: File that holds the job's token, which nobody else may read.
        tls_cert: Certificate of this node as PEM, with its chain.
        tls_key: Its private key as PEM.
        tls_ca: Who may have signed the other nodes' certificates, as PEM.
        tls_check_host: Whether the certificate of the host has to name it.
    """

    token_file: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_ca: str | None = None
    tls_check_host: bool = True

    def __attrs_post_init__(self) -> None:
        files = {name: getattr(self, name) for name in TLS_FILES}
        missing = [name for name, path in files.items() if not path]
        if missing and len(missing) < len(files):
            raise ValueError(
                "TLS needs 'tls_cert', 'tls_key' and 'tls_ca' together; "
                f"{' and '.join(map(repr, missing))} not given"
            )
        if missing and not self.tls_check_host:
            raise ValueError(
                "'tls_check_host' needs 'tls_cert', 'tls_key' and 'tls_ca'"
            )


@attrs.frozen(kw_only=True)
class C10dOptions(StoreOptions):
    """Times in seconds, those of every rendezvous included.

    Attributes:
        is_host: Whether this node hosts the store; `None` to find out by trying to
            listen at the endpoint.
        connect_timeout: How long to try to reach a store that another node hosts.
        read_timeout: Another name for ``connect_timeout``, which wins if both are
            given.
        heartbeat_timeout: How long one renewal of the lease may take before it is tried
            again; a third of the lease if not given.
        store_type: ``tcp``: one agent serves the store. ``file``: it lies in a
            directory, which the endpoint names, as for the rendezvous ``file``.
    """

    is_host: bool | None = None
    connect_timeout: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.gt(0))
    )
    read_timeout: float = attrs.field(default=60.0, validator=attrs.validators.gt(0))
    heartbeat_timeout: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.gt(0))
    )
    store_type: str = attrs.field(
        default="tcp",
        converter=_lower,
        validator=_store_type,
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.store_type == "file" and (self.token_file or self.tls_cert):
            raise ValueError(
                "'token_file' and TLS protect a store that is served; a directory "
                "(store_type=file) is protected by its mode: leave them out"
            )

    @property
    def sees_connections(self) -> bool:
        """Nobody is connected to a directory."""
        return self.store_type == "tcp"

    @property
    def connect_limit(self) -> float:
        """Seconds to try to reach a store that another node hosts."""
        if self.connect_timeout is None:
            return self.read_timeout
        return self.connect_timeout


@attrs.frozen(kw_only=True)
class StaticOptions(StoreOptions):
    """Times in seconds, those of every rendezvous included.

    Attributes:
        rank: Group rank of this node, where nothing else gives it one.
    """

    rank: int | None = None

    def hosting(self, *, is_host: bool) -> C10dOptions:
        """Return how to open the store: who is no host waits as long as for a job."""
        common = {
            field.name: getattr(self, field.name)
            for field in attrs.fields(StoreOptions)
        }
        return C10dOptions(**common, is_host=is_host, connect_timeout=self.join_limit)
