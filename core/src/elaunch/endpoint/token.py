"""The token of the endpoint: who has it may ask an agent over the network."""

import hmac
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import attrs

from elaunch.errors import UsageError


TOKEN = "ELAUNCH_CONTROL_TOKEN"  # noqa: S105 - a name
TOKEN_FILE = "ELAUNCH_CONTROL_TOKEN_FILE"  # noqa: S105 - a name

VARIABLES: Mapping[str, str] = {
    TOKEN: "token of `--control HOST:PORT`; workers don't get it",
    TOKEN_FILE: "file that holds that token",
}
"""What agents and commands read, with the meaning for the documentation."""

_LEAST = 16
_MOST = 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_SCHEME = "bearer "


@attrs.frozen
class ControlToken:
    """The secret.

    Attributes:
        secret: It, as it stands in a header.
    """

    secret: str = attrs.field(repr=False)

    @property
    def header(self) -> str:
        """The value of the header ``Authorization``."""
        return f"Bearer {self.secret}"

    def is_shown_by(self, header: str) -> bool:
        """Whether a header ``Authorization`` shows it; takes as long if it does not."""
        shown = header[len(_SCHEME) :].strip()
        same = hmac.compare_digest(shown.encode(), self.secret.encode())
        return same and header[: len(_SCHEME)].lower() == _SCHEME


def find_token(environment: Mapping[str, str]) -> ControlToken | None:
    """Return the token that the environment gives; `None` if it gives none.

    Raises:
        UsageError: If it is given twice, can't be read, can be read by others or is
            none.
    """
    given, file = environment.get(TOKEN), environment.get(TOKEN_FILE)
    if given and file:
        raise UsageError(f"{TOKEN} and {TOKEN_FILE} are both set; unset one")
    if given:
        return _made_of(given, TOKEN)
    return _made_of(_read(file), f"the file {file!r} ({TOKEN_FILE})") if file else None


def needed_token(place: str, environment: Mapping[str, str]) -> ControlToken:
    """Return the token of an endpoint that is open to the network.

    Raises:
        UsageError: If there is none; names the place.
    """
    token = find_token(environment)
    if token is None:
        raise UsageError(
            f"control {place!r} is open to the network, and whoever can end the job "
            f"there must show a token: set {TOKEN} or {TOKEN_FILE}"
        )
    return token


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MOST + 1)
    except OSError as error:
        raise UsageError(
            f"the token file {path!r} ({TOKEN_FILE}) can't be read: {error.strerror}"
        ) from error
    if mode & _OTHERS:
        raise UsageError(
            f"the token file {path!r} ({TOKEN_FILE}) is open to other users (mode "
            f"{stat.S_IMODE(mode):04o}); run 'chmod 600 {path}', or where its mode "
            f"can't be changed give its content in {TOKEN}"
        )
    return text.decode("latin-1")


def _made_of(text: str, name: str) -> ControlToken:
    secret = text.strip()
    fits = secret.isascii() and secret.isprintable() and " " not in secret
    if not fits or not _LEAST <= len(secret) <= _MOST:
        raise UsageError(
            f"the token in {name} must have from {_LEAST} to {_MOST} printable "
            f"characters of ASCII and no space; make one with 'openssl rand -hex 32'"
        )
    return ControlToken(secret)
