"""What the gateway says when it carries a request out only in part, or not at all."""

import json
from typing import Any

from elaunch_rdzv_etcd.trouble import (
    Busy,
    Denied,
    NoSuchApi,
    Refused,
    Unavailable,
    Unusable,
)


class TokenRefused(Denied):
    """The token has expired, or was never valid: log in again."""


class AuthDisabled(Refused):
    """This cluster asks nobody who they are."""


class LeaseGone(Refused):
    """The lease is over."""


class LeaseExists(Refused):
    """There is a lease of this id."""


class Compacted(Refused):
    """The revision that was asked for is not known any more."""


# Codes of gRPC, which the gateway passes on.
_INVALID_ARGUMENT, _NOT_FOUND, _PERMISSION_DENIED = 3, 5, 7
_EXHAUSTED, _PRECONDITION, _OUT_OF_RANGE, _UNIMPLEMENTED = 8, 9, 11, 12
_UNAUTHENTICATED = 16

_MEANINGS = {
    "invalid auth token": TokenRefused,
    "revision of auth store is old": TokenRefused,
    "user name is empty": TokenRefused,
    "authentication is not enabled": AuthDisabled,
    "requested lease not found": LeaseGone,
    "lease already exists": LeaseExists,
    "permission denied": Denied,
    "invalid user ID or password": Denied,
    "revision has been compacted": Compacted,
}

_HINTS = {
    "permission denied": "grant the user's role readwrite on the prefix: "
    "etcdctl role grant-permission ROLE readwrite --prefix=true PREFIX/",
    "user name is empty": "it asks who we are: give username and password_file",
    "invalid user ID or password": "see username and password_file",
    "database space exceeded": "compact and defragment it, then run "
    "'etcdctl alarm disarm'",
    "request is too large": "start it with a larger --max-request-bytes",
    "larger than max": "start it with a larger --max-request-bytes",
}

_FINAL = frozenset(
    {_INVALID_ARGUMENT, _NOT_FOUND, _PERMISSION_DENIED, _PRECONDITION, _OUT_OF_RANGE}
    | {_UNAUTHENTICATED}
)

_LONGEST = 200
_OK = 200


def judge(text: str, status: int = _OK) -> Exception:
    """Return what an answer means that is none.

    Args:
        text: The body of the answer, or what etcd says in a stream.
        status: Status of HTTP.
    """
    code, message = _read(text)
    message = message.strip()
    if "client sent an http request to an https server" in message.lower():
        return Unusable(f"{message}; add protocol=https")
    if code == _UNIMPLEMENTED or message.lower() in _NOT_THERE:
        return NoSuchApi("the server does not offer the v3 API over HTTP")
    if code is None and status != _OK:
        return _foreign(status)
    hint = next((h for part, h in _HINTS.items() if part in message), "")
    told = f"{message}; {hint}" if hint else message
    if code == _EXHAUSTED:
        # What is in its way at one member is so at all of them, but a message that is
        # too large will never be smaller.
        return Refused(told) if "larger than max" in message else Busy(told)
    for part, meaning in _MEANINGS.items():
        if part in message:
            return meaning(told)
    return Refused(told) if code in _FINAL else Unavailable(told)


_NOT_THERE = frozenset({"not found", "404 page not found"})
_PASSING = frozenset({408, 429, 500, 502, 503, 504})


def _foreign(status: int) -> Exception:
    """Return what the answer of a proxy means, or of who else is there."""
    told = f"it does not answer as etcd does, but with HTTP status {status}"
    return Unavailable(told) if status in _PASSING else Unusable(told)


def _read(text: str) -> tuple[int | None, str]:
    """Return the code and the message of an error; no code if it is none of etcd's."""
    try:
        answer: Any = json.loads(text)
        error = answer.get("error")
        answer = error if isinstance(error, dict) else answer
        code = answer.get("grpc_code", answer.get("code"))
        message = answer.get("message") or error
        return code if code is None else int(code), str(message)[:_LONGEST]
    except (ValueError, TypeError, AttributeError):
        return None, text[:_LONGEST]
