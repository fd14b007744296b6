"""The job's token: a secret that its agents share."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import attrs

from elaunch.api import UsageError


TOKEN = "ELAUNCH_RDZV_TOKEN"  # noqa: S105 - a name
TOKEN_FILE = "ELAUNCH_RDZV_TOKEN_FILE"  # noqa: S105 - a name

VARIABLES: Mapping[str, str] = {
    TOKEN: "token of the job (rendezvous c10d and static); workers don't get it",
    TOKEN_FILE: "file that holds the token; `--rdzv-conf token_file` wins over both",
}
"""What the agent reads, with the meaning for the documentation."""

_LEAST = 16
_MOST = 64 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@attrs.frozen
class Token:
    """A secret that proves to whom it is known, and never travels.

    Attributes:
        secret: The secret.

    Raises:
        ValueError: If it is too short to be one.
    """

    secret: bytes = attrs.field(repr=False)

    @secret.validator
    def _check(self, _: object, value: bytes) -> None:
        if len(value) < _LEAST:
            raise ValueError(
                f"has {len(value)} bytes, fewer than {_LEAST}; make one with "
                "'openssl rand -hex 32'"
            )

    def sign(self, *parts: bytes) -> bytes:
        """Return what only who has the token can say of these parts."""
        import hmac  # most jobs have no token

        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self.secret, framed, "sha256")


def is_same(one: bytes, other: bytes) -> bool:
    """Compare what nobody else may know, in a time that tells nothing of it."""
    import hmac

    return hmac.compare_digest(one, other)


def find_token(path: str | None, environ: Mapping[str, str]) -> Token | None:
    """Return the token that the user gave; `None` if there is none.

    Args:
        path: Value of the option ``token_file``, which wins over the environment.
        environ: The agent's environment.

    Raises:
        UsageError: If it is given twice, can't be read, can be read by others or is
            no secret.
    """
    if path is not None:
        return _from_file(path, "token_file")
    given, file = environ.get(TOKEN), environ.get(TOKEN_FILE)
    if given is not None and file is not None:
        raise UsageError(f"{TOKEN} and {TOKEN_FILE} are both set; unset one")
    if given is not None:
        return _made_of(os.fsencode(given), TOKEN)
    return _from_file(file, TOKEN_FILE) if file is not None else None


def _from_file(path: str, name: str) -> Token:
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MOST + 1)
    except OSError as error:
        raise UsageError(
            f"the token file {path!r} ({name}) can't be read: {error.strerror}"
        ) from error
    if mode & _OTHERS:
        raise UsageError(
            f"the token file {path!r} ({name}) is open to other users (mode "
            f"{stat.S_IMODE(mode):04o}); run 'chmod 600 {path}', or where its mode "
            f"can't be changed give its content in {TOKEN}"
        )
    if len(text) > _MOST:
        raise UsageError(f"the token file {path!r} ({name}) has over {_MOST} bytes")
    return _made_of(text, f"{name}, the file {path!r},")


def _made_of(text: bytes, name: str) -> Token:
    try:
        return Token(text.strip())
    except ValueError as error:
        raise UsageError(f"the token in {name} {error}") from None
