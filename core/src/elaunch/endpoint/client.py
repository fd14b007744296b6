"""Asks agents of this host, or one elsewhere, through their endpoints."""

import contextlib
import json
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from elaunch.endpoint.places import check_directory, runtime_directory
from elaunch.endpoint.token import TOKEN, TOKEN_FILE, ControlToken, find_token
from elaunch.errors import ControlFailed


TIMEOUT = 15.0
"""Seconds that an answer may take: longer than an agent waits for its store."""

NEWBORN = 10.0
"""Seconds of age that a socket has at most at which its agent may not listen yet."""

ANSWER_LIMIT = 64 * 1024 * 1024
"""Bytes that an answer may have."""


class NoAnswer(ControlFailed):
    """The agent was asked, and said nothing."""


class NobodyListens(NoAnswer):
    """The agent has ended, or there never was one."""


_NAME = re.compile(r"(\d+)-[0-9a-f]+\.sock")


@attrs.frozen
class Contact:
    """Where an agent listens.

    Attributes:
        name: What to call it.
        address: Path of its socket, or host and port.
        token: What it wants to be shown.
        pid: Its process id; 0 if that is not known.
    """

    name: str
    address: str | tuple[str, int]
    token: ControlToken | None = None
    pid: int = 0

    def ask(
        self,
        method: str,
        path: str,
        facts: Mapping[str, Any] | None = None,
        *,
        timeout: float = TIMEOUT,
    ) -> dict[str, Any]:
        """Ask it, and return its answer; blocks.

        Args:
            method: What is to be done, in words of HTTP.
            path: With what.
            facts: What to send, as JSON.
            timeout: Seconds for which to wait if that is less than usual.

        Raises:
            ControlFailed: If it does not answer, or refuses.
        """
        told = _parse(self.fetch(path, method, facts, min(timeout, TIMEOUT)))
        if not isinstance(told, dict):
            raise ControlFailed(f"{self.name} gives no answer of an agent")
        return told

    def fetch(
        self,
        path: str,
        method: str = "GET",
        facts: Mapping[str, Any] | None = None,
        timeout: float = TIMEOUT,
    ) -> bytes:
        """Ask it, and return its answer as it is.

        Raises:
            ControlFailed: As for `ask`.
        """
        status, body = self._exchange(method, path, facts, timeout)
        if status < 300:  # noqa: PLR2004 - of HTTP
            return body
        told = _parse(body)
        error = told.get("error") if isinstance(told, dict) else None
        raise ControlFailed(f"{self.name}: {error or f'status {status}'}")

    def _exchange(
        self,
        method: str,
        path: str,
        facts: Mapping[str, Any] | None,
        timeout: float = TIMEOUT,
    ) -> tuple[int, bytes]:
        deadline = time.monotonic() + timeout
        try:
            with contextlib.closing(self._connect(timeout)) as own:
                own.sendall(self._request(method, path, facts))
                return _split(_read_all(own, deadline))
        except (ConnectionRefusedError, FileNotFoundError):
            raise NobodyListens(f"{self.name} does not run: nobody listens") from None
        except TimeoutError:
            raise NoAnswer(f"{self.name} has not answered for {timeout:g} s") from None
        except (OSError, ValueError) as error:
            raise NoAnswer(f"{self.name} does not answer: {error}") from error

    def _connect(self, timeout: float = TIMEOUT) -> socket.socket:
        if not isinstance(self.address, str):
            return socket.create_connection(self.address, timeout=timeout)
        own = socket.socket(socket.AF_UNIX)
        try:
            # A timeout of Python's would not wait where many are waiting already.
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(timeout))
            own.connect(self.address)
        except BaseException:
            own.close()
            raise
        own.settimeout(timeout)
        return own

    def _request(
        self, method: str, path: str, facts: Mapping[str, Any] | None
    ) -> bytes:
        body = json.dumps(facts).encode() if facts else b""
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: agent",
            f"Content-Length: {len(body)}",
            *([f"Authorization: {self.token.header}"] if self.token else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return struct.pack("@ll", whole, int((seconds - whole) * 1e6))


def _parse(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _read_all(own: socket.socket, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < ANSWER_LIMIT:
        own.settimeout(max(deadline - time.monotonic(), 0.001))
        more = own.recv(1 << 16)
        if not more:
            return bytes(data)
        data += more
    raise ValueError(f"its answer has over {ANSWER_LIMIT} bytes")


def _split(answer: bytes) -> tuple[int, bytes]:
    """Return status and body of an answer.

    Raises:
        ValueError: If it is none.
    """
    head, end, body = answer.partition(b"\r\n\r\n")
    words = head.partition(b"\r\n")[0].split(b" ")
    if not end or len(words) < len(("version", "status")):
        raise ValueError("its answer has no end")
    return int(words[1]), body


def contacts(environment: Mapping[str, str]) -> list[Contact]:
    """Return the agents of this user that listen on this host, or have listened.

    Raises:
        ControlFailed: If their directory is another's, or can't be read.
    """
    directory = runtime_directory(environment)
    try:
        check_directory(directory)
        names = sorted(os.listdir(directory))  # noqa: PTH208 - it is a string
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ControlFailed(f"agents can't be looked for: {error}") from error
    found = [(name, known) for name in names if (known := _NAME.fullmatch(name))]
    return [
        Contact(f"agent {known[1]}", f"{directory}/{name}", pid=int(known[1]))
        for name, known in found
    ]


def contact_at(host: str, port: int, environment: Mapping[str, str]) -> Contact:
    """Return the agent that listens at a place of the network.

    Raises:
        ControlFailed: If there is no token to show.
        UsageError: If the token that the environment gives is none.
    """
    token = find_token(environment)
    if token is None:
        raise ControlFailed(
            f"an agent at HOST:PORT wants a token: set {TOKEN} or {TOKEN_FILE}"
        )
    return Contact(f"the agent at {host}:{port}", (host, port), token)


def reachable(
    known: Sequence[Contact],
) -> list[tuple[Contact, dict[str, Any] | ControlFailed]]:
    """Ask each for its status; what agents left behind that are gone is removed.

    All are asked at the same time: several may not answer.
    """
    found: list[tuple[Contact, dict[str, Any] | ControlFailed]] = []

    def ask(contact: Contact) -> None:
        told = _status(contact)
        if isinstance(told, NobodyListens) and isinstance(contact.address, str):
            _tidy_up(contact.address)
        else:
            found.append((contact, told))

    asking = [threading.Thread(target=ask, args=(c,), daemon=True) for c in known]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    return sorted(found, key=lambda each: known.index(each[0]))


def _status(contact: Contact) -> dict[str, Any] | ControlFailed:
    try:
        told = contact.ask("GET", "/status")
    except ControlFailed as error:
        return error
    if "run_id" in told:
        return told
    return ControlFailed(f"{contact.name} gives no answer of an agent")


def _tidy_up(path: str) -> None:
    """Remove the socket of an agent that was killed: nobody can listen there again."""
    with contextlib.suppress(OSError):
        made = os.stat(path).st_mtime  # noqa: PTH116 - it is a string
        if abs(time.time() - made) > NEWBORN:
            os.unlink(path)  # noqa: PTH108 - likewise
