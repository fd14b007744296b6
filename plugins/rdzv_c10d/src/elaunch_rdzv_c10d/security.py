"""What protects a job's control store: its token, TLS, both or nothing."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from elaunch_rdzv_c10d.job_token import Token, find_token
from elaunch_rdzv_c10d.options import StoreOptions


if TYPE_CHECKING:
    from elaunch_rdzv_c10d.tls import Tls


@attrs.frozen
class Security:
    """What both sides of a control connection ask of each other.

    Attributes:
        token: The job's token, which both must have.
        tls: Certificates, which both must show.
    """

    token: Token | None = None
    tls: "Tls | None" = None

    @property
    def is_open(self) -> bool:
        """Whether everybody who reaches the store may use it."""
        return not (self.token or self.tls)

    def for_host(self) -> "Security":
        """Return the same for the host's own client."""
        if not self.tls:
            return self
        return attrs.evolve(
            self, tls=attrs.evolve(self.tls, client=self.tls.own_client)
        )


UNPROTECTED = Security()
"""Asks nothing of anybody."""


def load_security(
    options: StoreOptions, environ: Mapping[str, str] = os.environ
) -> Security:
    """Return what options and environment ask for.

    Raises:
        UsageError: If a file can't be used, or the token is none.
    """
    token = find_token(options.token_file, environ)
    if not (options.tls_cert and options.tls_key and options.tls_ca):
        return Security(token)
    from elaunch_rdzv_c10d.tls import load_tls

    tls = load_tls(
        options.tls_cert,
        options.tls_key,
        options.tls_ca,
        check_host=options.tls_check_host,
    )
    return Security(token, tls)
