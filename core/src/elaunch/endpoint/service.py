"""What the endpoint answers to which request."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from elaunch.endpoint.book import Book
from elaunch.endpoint.bridge import PATIENCE, Bridge
from elaunch.endpoint.identity import Identity
from elaunch.endpoint.status import status_of
from elaunch.endpoint.token import ControlToken
from elaunch.errors import ControlFailed, ElaunchError
from elaunch.http_server import Request, Response, json_response
from elaunch.text import printable


STANDSTILL_LIMIT = 60.0
"""Seconds for which the agent's loop may stand still, as for its health check."""

FRESH = 1.0
"""Seconds for which what the store said of all nodes is told again."""

REASON_LIMIT = 200
"""Characters of the reason that a request may give."""


@attrs.define(eq=False, kw_only=True)
class Service:
    """Answers requests, in threads of their own.

    Attributes:
        identity: Whose endpoint it is.
        book: What the agent has told.
        bridge: The way to its loop.
        clock: Tells the time of its loop.
    """

    identity: Identity
    book: Book
    bridge: Bridge
    clock: Callable[[], float] = time.monotonic
    _reading: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _members: tuple[float, list[Any]] | None = attrs.field(default=None, init=False)

    def answer(self, request: Request, token: ControlToken | None = None) -> Response:
        """Answer a request.

        Args:
            request: What is asked.
            token: What whoever asks must show.
        """
        refused = _refused(request, token)
        if refused:
            return refused
        try:
            return ROUTES[request.path][1](self, request)
        except TimeoutError:
            return _refusal(504, f"the agent has not answered for {PATIENCE:g} s")
        except ControlFailed as error:
            return _refusal(409, str(error))
        except ElaunchError as error:
            return _refusal(503, str(error))
        except ValueError as error:
            return _refusal(400, str(error))

    def status(self) -> dict[str, Any]:
        """Return what is known of the agent."""
        contents = self.book.read()
        return {
            **attrs.asdict(self.identity),
            "standstill": round(self.bridge.standstill(), 3),
            **status_of(contents, time.time(), self.clock()),
        }

    def members(self) -> list[Any]:
        """Return how all nodes of the job are; the store is asked once a second."""
        if not self._reading.acquire(timeout=PATIENCE):
            raise TimeoutError
        try:
            if self._members is None or self.clock() - self._members[0] > FRESH:
                told = self.bridge.ask(lambda agent: agent.members())
                found = [attrs.asdict(member) for member in told]
                self._members = self.clock(), found
            return self._members[1]
        finally:
            self._reading.release()


def _status(service: Service, _: Request) -> Response:
    return json_response(200, service.status())


def _list_members(service: Service, _: Request) -> Response:
    return json_response(200, {"members": service.members()})


def _metrics(service: Service, _: Request) -> Response:
    try:
        from elaunch.endpoint.exposition import CONTENT_TYPE, exposition
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        hint = "metrics need prometheus-client: pip install 'elaunch[prometheus]'"
        return _refusal(501, hint)
    contents = service.book.read()
    told = exposition(service.identity, contents, time.time(), service.clock())
    return Response(200, told, CONTENT_TYPE)


def _health(service: Service, _: Request) -> Response:
    standstill = service.bridge.standstill()
    healthy = standstill <= STANDSTILL_LIMIT
    facts = {"healthy": healthy, "standstill": round(standstill, 3)}
    return json_response(200 if healthy else 503, facts)


def _end(service: Service, _: Request) -> Response:
    """Answer at the end, or that it has not come; who has left blocks nobody then."""
    return json_response(200, {"ended": service.bridge.ended.wait(PATIENCE)})


def _drain(service: Service, request: Request) -> Response:
    reason = reason_of(request)
    service.bridge.ask(lambda agent: agent.drain(reason, request.peer))
    return json_response(202, {"done": "this node leaves its job"})


def _restart(service: Service, request: Request) -> Response:
    reason = reason_of(request)
    service.bridge.ask(lambda agent: agent.restart(reason, request.peer))
    return json_response(202, {"done": "the workers of the job start anew"})


def _stop(service: Service, request: Request) -> Response:
    reason = reason_of(request)
    service.bridge.ask(lambda agent: agent.stop(reason, request.peer))
    return json_response(202, {"done": "the job ends"})


ROUTES: Mapping[str, tuple[str, Callable[[Service, Request], Response]]] = {
    "/status": ("GET", _status),
    "/members": ("GET", _list_members),
    "/metrics": ("GET", _metrics),
    "/healthz": ("GET", _health),
    "/end": ("GET", _end),
    "/drain": ("POST", _drain),
    "/restart": ("POST", _restart),
    "/stop": ("POST", _stop),
}
"""What can be asked, and by which method."""


def _refused(request: Request, token: ControlToken | None) -> Response | None:
    """Return what to tell where a request is not answered at all."""
    shown = request.headers.get("authorization", "")
    if token and not token.is_shown_by(shown):
        return _refusal(401, "show the token: 'Authorization: Bearer TOKEN'")
    if request.path not in ROUTES:
        known = ", ".join(f"{method} {path}" for path, (method, _) in ROUTES.items())
        return _refusal(404, f"there is no {request.path!r}, but {known}")
    method, _ = ROUTES[request.path]
    if request.method != method:
        return _refusal(405, f"{request.path!r} is asked with the method {method}")
    return None


def reason_of(request: Request) -> str:
    """Return why something is wanted, in one line.

    Raises:
        ValueError: If the body is something else.
    """
    try:
        told = json.loads(request.body) if request.body.strip() else {}
    except (ValueError, RecursionError):
        told = None
    match told:
        case {"reason": str(reason), **rest} if not rest:
            return printable(reason)[:REASON_LIMIT]
        case {} if told == {}:
            return ""
    raise ValueError('the body is JSON like {"reason": "maintenance"}, or empty')


def _refusal(status: int, error: str) -> Response:
    return json_response(status, {"error": error})
