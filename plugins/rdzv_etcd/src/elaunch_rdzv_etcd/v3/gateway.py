"""etcd's v3 API as blocking calls over etcd3gw. For use in threads.

This is the only module that knows etcd3gw. Each call is one request: nothing is retried
here but what was refused for a token that has expired.
"""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import attrs
import requests
import urllib3
from etcd3gw import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception
from requests.adapters import HTTPAdapter

from elaunch_rdzv_etcd.diagnosis import translated
from elaunch_rdzv_etcd.endpoints import Endpoint
from elaunch_rdzv_etcd.http import Http
from elaunch_rdzv_etcd.target import Target, User
from elaunch_rdzv_etcd.trouble import Unavailable, Unusable
from elaunch_rdzv_etcd.v3.changes import Record, text
from elaunch_rdzv_etcd.v3.login import Login
from elaunch_rdzv_etcd.v3.refusals import AuthDisabled, Compacted, TokenRefused, judge


logger = logging.getLogger(__name__)

PAGE = 500
"""Entries that one request lists."""

_LONGEST_LINE = 16 * 1024 * 1024
_PIECE = 64 * 1024
_NEVER = 2**63 - 1  # a revision that etcd does not reach

AnswerT = TypeVar("AnswerT")


class _Adapter(HTTPAdapter):
    """Sends the requests of etcd3gw through our connections."""

    def __init__(self, http: Http) -> None:
        super().__init__()
        self._http = http

    def send(  # type: ignore[override]  # what it leaves out is settled in `Http`
        self,
        request: requests.PreparedRequest,
        *,
        stream: bool = False,
        timeout: Any = None,
        **_: Any,
    ) -> requests.Response:
        send = self._http.stream if stream else self._http.request
        try:
            response = send(
                str(request.method),
                str(request.url),
                body=request.body,
                headers=request.headers,
                timeout=timeout,
                preload_content=False,
                decode_content=False,
            )
            if response.status != requests.codes["ok"]:
                with contextlib.closing(response):
                    told = response.read1(_PIECE, decode_content=True)
                raise judge(told.decode(errors="replace"), response.status)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise translated(error) from error
        return self.build_response(request, response)


@attrs.define(eq=False)
class Gateway:
    """Blocking requests to one endpoint.

    Every method raises `Unavailable` or `Refused` besides what it says itself.

    Attributes:
        target: The cluster, and how to speak to it.
        endpoint: The endpoint.
        connections: Connections that are kept open, one for each thread.
        login: The token that this and other connections share.
        cluster_id: Id of the cluster that has answered, `None` before that.
    """

    target: Target
    endpoint: Endpoint
    connections: int
    login: Login
    cluster_id: str | None = attrs.field(default=None, init=False)
    _token: str | None = attrs.field(default=None, init=False, repr=False)
    _http: Http = attrs.field(init=False)
    _session: requests.Session = attrs.field(init=False)
    _etcd: Etcd3Client = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._http = Http.to(self.endpoint, self.target, self.connections)
        self._session = requests.Session()
        self._session.trust_env = False
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(self._http))
        self._etcd = Etcd3Client(
            host=self.endpoint.host.strip("[]"),
            port=self.endpoint.port,
            protocol=self.target.protocol,
            timeout=self.target.timeout,
            # That of etcd 3.4 and later: asking for it would be another round trip.
            api_path="/v3/",
            session=self._session,
        )

    def read(self, place: bytes) -> Record | None:
        """Return the entry at a place, or `None`. Reads are linearizable."""

        def read(answer: dict[str, Any]) -> Record | None:
            found = answer.get("kvs", ())
            return Record.of(found[0]) if found else None

        return self._ask("/kv/range", {"key": text(place)}, read)

    def probe(self, place: bytes) -> None:
        """Find out whether etcd is there, and whether we may write at a place.

        It asks for both branches of a transaction whether they are allowed, and carries
        out the one that reads.
        """
        key = {"key": text(place)}
        never = {**key, "target": "MOD", "result": "EQUAL", "mod_revision": str(_NEVER)}
        request = {
            "compare": [never],
            "success": [{"request_put": key}],
            "failure": [{"request_range": key}],
        }
        self._ask("/kv/txn", request, lambda _: None)

    def revision(self, place: bytes) -> int:
        """Return the revision of the cluster; the place is one that we may read."""
        request = {"key": text(place), "count_only": True}
        return self._ask("/kv/range", request, _revision)

    def entries(self, start: bytes, end: bytes) -> tuple[tuple[Record, ...], int]:
        """Return the entries of a range, sorted, and the revision of that moment."""
        while True:
            # Compacted while page after page was read: that moment is forgotten.
            with contextlib.suppress(Compacted):
                return self._entries(start, end)

    def _entries(self, start: bytes, end: bytes) -> tuple[tuple[Record, ...], int]:
        records: list[Record] = []
        revision, more = 0, True
        while more:
            request = {
                "key": text(records[-1].place + b"\0" if records else start),
                "range_end": text(end),
                "limit": str(PAGE),
                "revision": str(revision),
            }
            page, now, more = self._ask("/kv/range", request, _page)
            records += page
            revision = revision or now
        return tuple(records), revision

    def commit(self, operations: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """Do things with different keys in one transaction; return each's answer.

        Raises:
            LeaseGone: If the lease of one of them is over; nothing was done.
        """
        if len(operations) == 1:
            # Of what is inside of another transaction etcd (to 3.5 at least) checks
            # neither the user's permission nor whether there is space.
            request = operations[0]["request_txn"]
            return [self._ask("/kv/txn", request, lambda a: {"response_txn": a})]

        def read(answer: dict[str, Any]) -> list[dict[str, Any]]:
            return [answer["responses"][index] for index in range(len(operations))]

        return self._ask("/kv/txn", {"success": operations}, read)

    def grant(self, seconds: int, lease: int = 0) -> tuple[int, int]:
        """Grant a lease; return its id and its time to live in seconds.

        Args:
            seconds: Time to live; etcd has a least one of 1.5 elections.
            lease: Its id; 0 for one that etcd chooses.

        Raises:
            LeaseExists: If there is a lease of this id.
        """

        def read(answer: dict[str, Any]) -> tuple[int, int]:
            return int(answer["ID"]), int(answer["TTL"])

        request = {"TTL": str(seconds), "ID": str(lease)}
        return self._ask("/lease/grant", request, read)

    def keep_alive(self, lease: int) -> bool:
        """Give a lease its whole time again; return whether there was one left."""

        def read(answer: dict[str, Any]) -> bool:
            return int(answer["result"].get("TTL", 0)) > 0

        return self._ask("/lease/keepalive", {"ID": str(lease)}, read)

    def revoke(self, lease: int) -> None:
        """End a lease and delete its keys.

        Raises:
            LeaseGone: If it is over.
        """
        self._ask("/lease/revoke", {"ID": str(lease)}, lambda _: None)

    def watch(
        self, start: bytes, end: bytes, since: int, idle: float
    ) -> Iterator[dict[str, Any]]:
        """Yield what etcd says of the changes of a range after a revision.

        Args:
            start: First key.
            end: First key behind the last.
            since: The revision.
            idle: Seconds of silence after which it is given up.
        """
        request: dict[str, Any] = {
            "create_request": {
                "key": text(start),
                "range_end": text(end),
                "start_revision": str(since + 1),
                "fragment": True,
            }
        }
        # A member without a leader would keep silent for ever.
        headers = {"Grpc-Metadata-Hasleader": "true", **self._authorization()}
        timeout = self.target.timeout
        with self._translated():
            url = self._etcd.get_url("/watch")
            answer = self._session.post(
                url, json=request, headers=headers, timeout=timeout, stream=True
            )
            with contextlib.closing(answer):
                self._http.wait(idle)
                for line in _lines(answer):
                    yield _result(line)

    def interrupt(self) -> None:
        """End a watch that is waiting in another thread, and all later ones at once."""
        self._http.interrupt()

    def close(self) -> None:
        """Close the connections, those in use as soon as their request is over."""
        self._http.clear()

    def forget_token(self) -> None:
        """Have the token of the last watch replaced: it may have expired."""
        self.login.forget(self._token)

    def _ask(
        self,
        path: str,
        request: dict[str, Any],
        read: Callable[[dict[str, Any]], AnswerT],
    ) -> AnswerT:
        headers = self._authorization()
        try:
            answer = self._post(path, request, headers)
        except TokenRefused:
            if self.target.user is None:
                raise
            headers = self._authorization(headers.get("Authorization", ""))
            answer = self._post_again(path, request, headers)
        with self._translated():
            header = answer.get("header") or answer["result"]["header"]
            self.cluster_id = str(header["cluster_id"])
            return read(answer)

    def _post_again(
        self, path: str, request: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any]:
        try:
            return self._post(path, request, headers)
        except TokenRefused as error:
            # Users and roles are being changed, or another member is behind.
            raise Unavailable(str(error)) from error

    def _authorization(self, stale: str | None = None) -> dict[str, str]:
        user = self.target.user
        if user is None:
            return {}
        self._token = self.login.token(stale, lambda: self._fetch_token(user))
        return {"Authorization": self._token} if self._token else {}

    def _fetch_token(self, user: User) -> str:
        request = {"name": user.name, "password": user.password}
        try:
            answer = self._post("/auth/authenticate", request, {})
        except AuthDisabled:
            logger.warning("etcd asks nobody who they are: %r is not needed", user.name)
            return ""
        with self._translated():
            return str(answer["token"])

    def _post(
        self, path: str, request: dict[str, Any], headers: dict[str, str]
    ) -> dict[str, Any]:
        with self._translated():
            url = self._etcd.get_url(path)
            answer: dict[str, Any] = self._etcd.post(url, json=request, headers=headers)
        return answer

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Etcd3Exception as error:
            raise Unusable(f"it does not answer as etcd does: {error}") from error
        except requests.exceptions.JSONDecodeError as error:
            raise Unusable("it does not answer as etcd does") from error
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise translated(error) from error
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise Unusable("it does not answer as etcd does") from error


def _revision(answer: dict[str, Any]) -> int:
    return int(answer["header"]["revision"])


def _page(answer: dict[str, Any]) -> tuple[list[Record], int, bool]:
    records = [Record.of(kv) for kv in answer.get("kvs", ())]
    return records, _revision(answer), bool(answer.get("more"))


def _lines(answer: requests.Response) -> Iterator[bytes]:
    """Yield the lines of a stream as they come.

    Raises:
        Unavailable: If one is too long to be of etcd.
    """
    begun = bytearray()
    for piece in answer.iter_content(_PIECE):
        end, *more = piece.split(b"\n")
        begun += end
        if more:
            *lines, rest = bytes(begun), *more
            yield from filter(None, lines)
            begun = bytearray(rest)
        if len(begun) > _LONGEST_LINE:
            raise Unavailable(f"it sends a line of over {_LONGEST_LINE} bytes")


def _result(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
        result: dict[str, Any] = answer["result"]
    except (ValueError, TypeError):
        raise Unavailable("it sends what is no JSON") from None
    except KeyError:
        raise judge(line.decode(errors="replace")) from None
    return result
