"""What the gateway says when it carries a request out only in part, or not at all."""

import json
from typing import Any

from elaunch_rdzv_etcd.trouble import NoSuchApi, Refused, Unavailable, Unusable


class TokenRefused(Refused):
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
    "authentication is not enabled": AuthDisabled,
    "requested lease not found": LeaseGone,
    "lease already exists": LeaseExists,
    "permission denied": Refused,
    "revision has been compacted": Compacted,
}

_HINTS = {
    "permission denied": "grant the user's role readwrite on the prefix: "
    "etcdctl role grant-permission ROLE readwrite --prefix=true PREFIX/",
    "user name is empty": "it asks who we are: give username and password_file, or a "
    "client certificate",
    "user name not found": "it asks who we are: give username and password_file, or a "
    "client certificate",
    "database space exceeded": "compact and defragment it, then run "
    "'etcdctl alarm disarm'",
    "request is too large": "start it with a larger --max-request-bytes",
}

_FINAL = frozenset(
    {_INVALID_ARGUMENT, _NOT_FOUND, _PERMISSION_DENIED, _PRECONDITION, _OUT_OF_RANGE}
    | {_UNAUTHENTICATED}
)

_LONGEST = 200


def judge(text: str) -> Exception:
    """Return what an answer means that is none.

    Args:
        text: The body of the answer, or what went wrong with the connection.
    """
    code, message = _read(text)
    if "client sent an http request to an https server" in message.lower():
        return Unusable(f"{message.strip()}; add protocol=https")
    if code == _UNIMPLEMENTED or message.strip().lower() in _NOT_THERE:
        return NoSuchApi("the server does not offer the v3 API over HTTP")
    hint = next((h for part, h in _HINTS.items() if part in message), "")
    told = f"{message}; {hint}" if hint else message
    for part, meaning in _MEANINGS.items():
        if part in message:
            return meaning(told)
    return Refused(told) if code in _FINAL else Unavailable(told)


_NOT_THERE = frozenset({"not found", "404 page not found"})


def _read(text: str) -> tuple[int, str]:
    """Return the code and the message of an error; no code if it is none of etcd's."""
    try:
        answer: Any = json.loads(text)
        error = answer.get("error")
        answer = error if isinstance(error, dict) else answer
        code = int(answer.get("grpc_code", answer.get("code", 0)))
        return code, str(answer.get("message") or error)[:_LONGEST]
    except (ValueError, TypeError, AttributeError):
        return 0, text[:_LONGEST]
