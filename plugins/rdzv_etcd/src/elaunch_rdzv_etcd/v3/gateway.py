"""etcd's v3 API as blocking calls over etcd3gw. For use in threads.

This is the only module that knows etcd3gw. Each call is one request: nothing is retried
here but what was refused for a token that has expired.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import requests
import urllib3
from etcd3gw import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception
from requests.adapters import HTTPAdapter

from elaunch_rdzv_etcd.endpoints import Endpoint
from elaunch_rdzv_etcd.http import Http, translated
from elaunch_rdzv_etcd.target import Target, User
from elaunch_rdzv_etcd.trouble import Unavailable, Unusable
from elaunch_rdzv_etcd.v3.changes import Record, text
from elaunch_rdzv_etcd.v3.login import Login
from elaunch_rdzv_etcd.v3.refusals import AuthDisabled, Compacted, TokenRefused, judge


PAGE = 500
"""Entries that one request lists."""

_LONGEST_LINE = 64 * 1024 * 1024
_PIECE = 64 * 1024


class _Adapter(HTTPAdapter):
    """Sends the requests of etcd3gw through our connections."""

    def __init__(self, http: Http) -> None:
        super().__init__()
        self._http = http

    def send(  # type: ignore[override]  # what it leaves out is settled in `Http`
        self,
        request: requests.PreparedRequest,
        *,
        timeout: Any = None,
        **_: Any,
    ) -> requests.Response:
        connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
        try:
            response = self._http.request(
                str(request.method),
                str(request.url),
                body=request.body,
                headers=request.headers,
                timeout=urllib3.Timeout(connect=connect, read=read),
                preload_content=False,
                decode_content=False,
            )
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
        answer = self._ask("/kv/range", {"key": text(place)})
        found = answer.get("kvs", ())
        return Record.of(found[0]) if found else None

    def entries(self, start: bytes, end: bytes) -> tuple[tuple[Record, ...], int]:
        """Return the entries of a range, sorted, and the revision of that moment."""
        while True:
            # Compacted while page after page was read: that moment is forgotten.
            with contextlib.suppress(Compacted):
                return self._entries(start, end)

    def _entries(self, start: bytes, end: bytes) -> tuple[tuple[Record, ...], int]:
        records: tuple[Record, ...] = ()
        revision, more = 0, True
        while more:
            begin = records[-1].place + b"\0" if records else start
            answer = self._ask(
                "/kv/range",
                {
                    "key": text(begin),
                    "range_end": text(end),
                    "limit": str(PAGE),
                    "revision": str(revision),
                },
            )
            records += tuple(Record.of(kv) for kv in answer.get("kvs", ()))
            revision = revision or int(answer["header"]["revision"])
            more = bool(answer.get("more"))
        return records, revision

    def commit(self, operations: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        """Do things with different keys in one transaction; return each's answer.

        Raises:
            LeaseGone: If the lease of one of them is over; nothing was done.
        """
        answers: Sequence[dict[str, Any]]
        answers = self._ask("/kv/txn", {"success": operations})["responses"]
        return answers

    def grant(self, seconds: int, lease: int = 0) -> tuple[int, int]:
        """Grant a lease; return its id and its time to live in seconds.

        Args:
            seconds: Time to live; etcd has a least one of 1.5 elections.
            lease: Its id; 0 for one that etcd chooses.

        Raises:
            LeaseExists: If there is a lease of this id.
        """
        answer = self._ask("/lease/grant", {"TTL": str(seconds), "ID": str(lease)})
        return int(answer["ID"]), int(answer["TTL"])

    def keep_alive(self, lease: int) -> bool:
        """Give a lease its whole time again; return whether there was one left."""
        answer = self._ask("/lease/keepalive", {"ID": str(lease)})
        return int(answer["result"].get("TTL", 0)) > 0

    def revoke(self, lease: int) -> None:
        """End a lease and delete its keys.

        Raises:
            LeaseGone: If it is over.
        """
        self._ask("/lease/revoke", {"ID": str(lease)})

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
        request = {
            "create_request": {
                "key": text(start),
                "range_end": text(end),
                "start_revision": str(since + 1),
            }
        }
        # A member without a leader would keep silent for ever.
        headers = {"Grpc-Metadata-Hasleader": "true", **self._authorization()}
        with self._translated():
            url = self._etcd.get_url("/watch")
            answer = self._session.post(
                url,
                json=request,
                headers=headers,
                timeout=(self.target.timeout, idle),
                stream=True,
            )
            if answer.status_code != requests.codes["ok"]:
                raise judge(answer.text)
            for line in _lines(answer):
                yield _result(line)

    def interrupt(self) -> None:
        """End a watch that is waiting in another thread, and all later ones at once."""
        self._http.interrupt()

    def close(self) -> None:
        """Close the connections, those in use as soon as their request is over."""
        self._http.clear()

    def _ask(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        headers = self._authorization()
        try:
            answer = self._post(path, request, headers)
        except TokenRefused:
            headers = self._authorization(headers.get("Authorization", ""))
            answer = self._post(path, request, headers)
        header = answer.get("header") or answer.get("result", {}).get("header", {})
        self.cluster_id = header.get("cluster_id", self.cluster_id)
        return answer

    def _authorization(self, stale: str | None = None) -> dict[str, str]:
        user = self.target.user
        if user is None:
            return {}
        token = self.login.token(stale, lambda: self._fetch_token(user))
        return {"Authorization": token} if token else {}

    def _fetch_token(self, user: User) -> str:
        request = {"name": user.name, "password": user.password}
        try:
            answer = self._post("/auth/authenticate", request, {})
        except AuthDisabled:
            return ""
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
            raise judge(error.detail_text or str(error)) from error
        except requests.exceptions.JSONDecodeError as error:
            raise Unusable("it does not answer as etcd does") from error
        except (OSError, urllib3.exceptions.HTTPError) as error:
            raise translated(error) from error


def _lines(answer: requests.Response) -> Iterator[bytes]:
    """Yield the lines of a stream as they come.

    Raises:
        Unavailable: If one is too long to be of etcd.
    """
    rest = b""
    for piece in answer.iter_content(_PIECE):
        *lines, rest = (rest + piece).split(b"\n")
        yield from filter(None, lines)
        if len(rest) > _LONGEST_LINE:
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
