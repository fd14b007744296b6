"""TLS between agents: each shows a certificate of the job's authority."""

import ssl
from pathlib import Path

import attrs

from elaunch.api import UsageError


_OTHER_NAMES = {62, 64}
"""OpenSSL's codes for a certificate of another host, by name and by address."""

_NAMES_ADVICE = (
    " (its subjectAltName has to name the host as --rdzv-endpoint does, or give "
    "tls_check_host=false)"
)


@attrs.frozen
class Tls:
    """What both sides of a connection need.

    Attributes:
        server: For whoever is connected to.
        client: For whoever connects.
        own_client: For a host that connects to itself: by an address that its
            certificate need not name.
    """

    server: ssl.SSLContext = attrs.field(repr=False)
    client: ssl.SSLContext = attrs.field(repr=False)
    own_client: ssl.SSLContext = attrs.field(repr=False)


def load_tls(cert: str, key: str, ca: str, *, check_host: bool) -> Tls:
    """Return TLS with these PEM files.

    Args:
        cert: Certificate of this node, with the chain up to the authority.
        key: Its private key.
        ca: Certificates of whoever may have signed the others'.
        check_host: Whether the host's certificate has to name it as the endpoint does.

    Raises:
        UsageError: If a file can't be read or used; names its option.
    """

    def context(protocol: int, *, check_host: bool = False) -> ssl.SSLContext:
        made = ssl.SSLContext(protocol)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.options |= ssl.OP_NO_RENEGOTIATION
        made.check_hostname = check_host
        made.verify_mode = ssl.CERT_REQUIRED
        _load_authority(made, ca)
        _load_certificate(made, cert, key)
        return made

    server = context(ssl.PROTOCOL_TLS_SERVER)
    server.num_tickets = 0  # each connection shows its certificate
    own = context(ssl.PROTOCOL_TLS_CLIENT)
    named = context(ssl.PROTOCOL_TLS_CLIENT, check_host=True) if check_host else own
    return Tls(server, named, own)


def reason_of_tls(error: ssl.SSLError) -> str:
    """Return why TLS failed, in the words of a message."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".").lower()
        return reason + (_NAMES_ADVICE if error.verify_code in _OTHER_NAMES else "")
    return (error.reason or str(error)).replace("_", " ").lower()


def _load_authority(context: ssl.SSLContext, ca: str) -> None:
    try:
        context.load_verify_locations(ca)
    except OSError as error:
        raise _unusable("tls_ca", ca, error) from error


def _load_certificate(context: ssl.SSLContext, cert: str, key: str) -> None:
    def refuse() -> str:
        raise UsageError(
            f"the key {key!r} (tls_key) is encrypted; nobody is there to ask for its "
            "password, so give one that is not"
        )

    for name, path in (("tls_cert", cert), ("tls_key", key)):
        try:
            Path(path).open("rb").close()  # else it is not told which of two is missing
        except OSError as error:
            raise _unusable(name, path, error) from error
    try:
        context.load_cert_chain(cert, key, refuse)
    except OSError as error:
        raise _unusable("tls_cert and tls_key", f"{cert}, {key}", error) from error


def _unusable(name: str, path: str, error: OSError) -> UsageError:
    reason = reason_of_tls(error) if isinstance(error, ssl.SSLError) else error.strerror
    return UsageError(f"{path!r} ({name}) can't be used: {reason}")
