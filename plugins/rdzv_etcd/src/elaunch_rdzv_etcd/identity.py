"""The certificate that this side of a TLS connection shows, and its private key."""

import os
import shlex
import ssl

from elaunch.api import UsageError


def load_identity(
    context: ssl.SSLContext,
    cert: str | os.PathLike[str],
    key: str | os.PathLike[str] | None,
) -> None:
    """Load a certificate and its key; without a key it is in the certificate's file.

    Raises:
        UsageError: If the key has a pass phrase.
        OSError: If they can't be used for another reason.
    """
    path = os.fspath(cert if key is None else key)

    def refuse() -> str:
        # OpenSSL would ask for it on the terminal, and wait.
        raise UsageError(
            f"the key {path!r} has a pass phrase, and nobody is there to ask for it; "
            f"give a key without: openssl pkey -in {shlex.quote(path)} -out FILE"
        )

    context.load_cert_chain(cert, key, password=refuse)
