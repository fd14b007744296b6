"""The check ``endpoint``: where the nodes meet can be reached from this one."""

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from elaunch.api import BlockingCall, PreflightContext, PreflightResult
from elaunch.preflights.options import EndpointOptions


SHARE = 0.8
"""Part of the check's time in which an answer must come, to tell which came late."""


@attrs.frozen
class Target:
    """Somebody to reach.

    Attributes:
        host: Name or address.
        port: Its port; `None` if none is named: then the name must be known, that is
            all.
    """

    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


def targets(text: str) -> list[Target]:
    """Read one or several of ``[SCHEME://]HOST[:PORT][/...]``, separated by commas.

    Raises:
        ValueError: If one has no host, or a port that can't be one.
    """
    return [_target(part.strip()) for part in text.split(",") if part.strip()]


def _target(text: str) -> Target:
    place = text.rpartition("://")[2].partition("/")[0].rpartition("@")[2]
    if place.startswith("["):
        host, _, rest = place[1:].partition("]")
        port = rest.removeprefix(":")
    elif place.count(":") > 1:  # an address of IPv6 without a port
        host, port = place, ""
    else:
        host, _, port = place.partition(":")
    if not host or (port and not (port.isdecimal() and int(port) < 1 << 16)):
        raise ValueError(f"{text!r} is not of the form HOST:PORT")
    return Target(host, int(port) if port else None)


@attrs.define(eq=False)
class Endpoint:
    """Reaches for one of the places that are named; one that answers is enough.

    Attributes:
        options: What is asked of it.
        where: The places, as ``HOST:PORT,...``, or a directory with a ``/``.
    """

    options: EndpointOptions
    where: str
    _look: BlockingCall[PreflightResult] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._look = BlockingCall(self._looked)

    async def check(self, _: PreflightContext) -> PreflightResult:
        """Reach for them in a thread: names are looked up, which can't be ended."""
        return await self._look()

    def _looked(self) -> PreflightResult:
        if "/" in self.where and "://" not in self.where:
            return _directory(Path(self.where))
        places = targets(self.where)
        deadline = time.monotonic() + SHARE * self.options.timeout
        problems: list[str] = []
        for number, target in enumerate(places):
            left = (deadline - time.monotonic()) / (len(places) - number)
            problem = self._reach(target, max(left, 0.1))
            if not problem:
                return PreflightResult(
                    facts={"address": str(target), "unreachable": problems}
                )
            problems.append(f"{str(target)!r} {problem}")
        # Not as it was given: what says who asks there may be a part of that.
        address = ",".join(map(str, places))
        return PreflightResult(problem="; ".join(problems), facts={"address": address})

    def _reach(self, target: Target, seconds: float) -> str:
        """Return why it can't be reached within so many seconds, or nothing."""
        try:
            found = socket.getaddrinfo(
                target.host, target.port, type=socket.SOCK_STREAM
            )
        except OSError as error:
            return f"is a name that can't be resolved: {error.strerror or error}"
        if not target.port:  # none, or one that is to be chosen
            return ""
        return self._connect(found, seconds)

    def _connect(self, found: Sequence[tuple], seconds: float) -> str:  # type: ignore[type-arg] # as getaddrinfo has them
        problem = ""
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as connection:
                connection.settimeout(seconds / len(found))
                try:
                    connection.connect(address)
                except ConnectionRefusedError:
                    if not self.options.listening:  # the host has answered
                        return ""
                    problem = "can be reached, but nobody listens there"
                except TimeoutError:
                    problem = f"has not answered within {seconds:.1f} s"
                except OSError as error:
                    problem = f"can't be reached: {error.strerror or error}"
                else:
                    return ""
        return problem


def _directory(path: Path) -> PreflightResult:
    """Look whether a directory can be written to, or made."""
    path = path.absolute()
    nearest = next(each for each in (path, *path.parents) if each.exists())
    usable = os.access(nearest, os.W_OK | os.X_OK) and nearest.is_dir()
    problem = "" if usable else f"{str(nearest)!r} can't be written to"
    return PreflightResult(problem=problem, facts={"address": str(path)})
