"""What an error of the connection means, and what to change where that can be told."""

import contextlib
import http.client
import socket
import ssl

import urllib3

from elaunch_rdzv_etcd.trouble import Unavailable, Unusable


_HINT_WITHIN = 2.0  # seconds
_CERTIFICATE_ADVICE = (
    "give cert=FILE and key=FILE of one that etcd trusts and that is not over"
)
_NO_HTTP = (
    http.client.BadStatusLine,
    http.client.LineTooLong,
    http.client.UnknownProtocol,
)
_LONGEST_QUOTE = 50


class WrongProtocol(urllib3.exceptions.HTTPError):
    """Plain HTTP was sent to who speaks TLS, or the reverse."""


def translated(error: BaseException) -> Unavailable:
    """Return what an error of urllib3 means, without the names of three libraries."""
    cause = _root(error)
    text = str(cause) or type(cause).__name__
    if isinstance(cause, WrongProtocol):
        return Unusable(text)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Unusable(f"its certificate can't be trusted: {text}")
    if isinstance(cause, ssl.SSLError) and "_ALERT_" in str(cause.reason):
        return Unusable(
            f"it does not accept this client's certificate, or that there is none: "
            f"{text}; {_CERTIFICATE_ADVICE}"
        )
    if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
        return Unusable(f"it does not speak TLS: {text}; leave out protocol=https")
    if isinstance(cause, _NO_HTTP) and not isinstance(cause, ConnectionError):
        return Unusable(f"it does not speak HTTP: {text[:_LONGEST_QUOTE]!r}")
    return Unavailable(text)


def _root(error: BaseException) -> BaseException:
    inner = [e for e in (error.__cause__, *error.args) if isinstance(e, BaseException)]
    return _root(inner[0]) if inner else error


def hint(error: BaseException, address: tuple[str, int]) -> str | None:
    """Return what to change if an endpoint hung up because of the wrong protocol."""
    cause = _root(error)
    if isinstance(cause, http.client.RemoteDisconnected) and _speaks_tls(address):
        return "it speaks TLS only; add protocol=https"
    if isinstance(cause, ssl.SSLEOFError) and _speaks_http(address):
        return "it does not speak TLS; leave out protocol=https"
    return None


def _speaks_tls(address: tuple[str, int]) -> bool:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection(address, _HINT_WITHIN) as connection,
            context.wrap_socket(connection),
        ):
            return True
    except ssl.SSLError as error:
        return "_ALERT_" in str(error.reason)  # it wants to see a certificate
    except OSError:
        return False


def _speaks_http(address: tuple[str, int]) -> bool:
    connection = http.client.HTTPConnection(*address, timeout=_HINT_WITHIN)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/version")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
