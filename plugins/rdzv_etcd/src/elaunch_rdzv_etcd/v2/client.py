"""etcd's v2 API as blocking calls over python-etcd. For use in threads.

This is the only module that knows python-etcd. Each call is one request: python-etcd
and urllib3 retry nothing, because only the caller knows what may be sent twice.
"""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import attrs
import etcd

from elaunch.api import WatchCompacted
from elaunch_rdzv_etcd.diagnosis import translated
from elaunch_rdzv_etcd.endpoints import Endpoint
from elaunch_rdzv_etcd.http import Http
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.trouble import Denied, NoSuchApi, Refused, Unavailable
from elaunch_rdzv_etcd.v2.nodes import Change, Node, Seen


_INDEX_HEADER = "X-Etcd-Index"
_PASSING = frozenset({300, 301, 400})  # no quorum, an election, a recovery
_GONE = frozenset({"delete", "expire", "compareAndDelete"})
_NO_KEY = 100
_NO_V2 = "404"
_SENSELESS = (ValueError, TypeError, LookupError, AttributeError)
"""What python-etcd makes of the answer of something else that listens there."""

if logging.getLogger("etcd.client").level == logging.NOTSET:
    # It logs as an error what is retried here, and the end of every watch.
    logging.getLogger("etcd.client").setLevel(logging.CRITICAL)


class ConditionFailed(Exception):
    """The key was not as the request demanded; nothing was changed."""


@attrs.define(eq=False)
class EtcdClient:
    """Blocking requests to one endpoint.

    Every method raises `Unavailable` or `Refused` besides what it says itself.

    Attributes:
        target: The cluster, and how to speak to it.
        endpoint: The endpoint.
        connections: Connections that are kept open, one for each thread.
        root: Directory of all that is asked for, for messages.
    """

    target: Target
    endpoint: Endpoint
    connections: int
    root: str
    _http: Http = attrs.field(init=False)
    _etcd: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        target, user = self.target, self.target.user
        self._http = Http.to(self.endpoint, target, self.connections)
        self._etcd = etcd.Client(
            host=self.endpoint.host,
            port=self.endpoint.port,
            protocol=target.protocol,
            read_timeout=target.timeout,
            username=user and _as_latin_1(user.name),
            password=user and _as_latin_1(user.password),
        )
        # Its own pool would retry writes behind our back.
        self._etcd.http = self._http

    @property
    def cluster_id(self) -> str | None:
        """Id of the cluster that has answered, `None` before the first answer."""
        cluster_id: str | None = self._etcd.expected_cluster_id
        return cluster_id

    def expect(self, cluster_id: str | None) -> None:
        """Refuse answers of another cluster, if this one is known."""
        self._etcd.expected_cluster_id = cluster_id

    def read(self, path: str) -> Node | None:
        """Return the file at a path, or `None`. Reads are linearizable."""
        with self._translated():
            try:
                result = self._etcd.read(path, quorum=True)
            except etcd.EtcdKeyNotFound as error:
                _check_absence(error)
                return None
        return None if result.dir else _node(result)

    def list(self, path: str) -> tuple[list[Node], int]:
        """Return all files below a directory, and the index of etcd at that moment."""
        with self._translated():
            try:
                result = self._etcd.read(path, recursive=True, quorum=True)
            except etcd.EtcdKeyNotFound as error:
                _check_absence(error)
                return [], int(error.payload["index"])
        nodes = [_node(leaf) for leaf in result.leaves if not leaf.dir]
        return nodes, int(result.etcd_index)

    def create(self, path: str, text: str, ttl: int | None) -> int:
        """Write a file that does not exist; return the index.

        Raises:
            ConditionFailed: If it exists.
        """
        return self._write(path, text, ttl, prevExist=False)

    def swap(self, path: str, text: str, ttl: int | None, index: int) -> int:
        """Write a file that was last modified at an index; return the new index.

        Raises:
            ConditionFailed: If it was not.
        """
        return self._write(path, text, ttl, prevIndex=index)

    def renew(self, path: str, ttl: int, index: int) -> int:
        """Give a file that was last modified at an index its whole time to live again.

        Watches hear nothing of it.

        Returns:
            The new index.

        Raises:
            ConditionFailed: If it was not.
        """
        return self._write(
            path, None, ttl, prevIndex=index, prevExist=True, refresh=True
        )

    def delete(self, path: str, index: int | None = None) -> bool:
        """Delete a file, with an index only if it was last modified then.

        Returns:
            Whether there was such a file.

        Raises:
            ConditionFailed: If it was last modified at another index.
        """
        condition = {} if index is None else {"prevIndex": index}
        with self._translated():
            try:
                self._etcd.delete(path, **condition)
            except etcd.EtcdKeyNotFound as error:
                _check_absence(error)
                return False
            except etcd.EtcdCompareFailed as error:
                raise ConditionFailed from error
        return True

    def leaves(self, path: str) -> tuple[set[str], set[str]]:
        """Return the files below a directory, and the directories that hold nothing."""
        with self._translated():
            try:
                result = self._etcd.read(path, recursive=True, quorum=True)
            except etcd.EtcdKeyNotFound as error:
                _check_absence(error)
                return set(), set()
        leaves = tuple(result.leaves)
        empty = {leaf.key for leaf in leaves if leaf.dir}
        return {leaf.key for leaf in leaves} - empty, empty

    def remove(self, directory: str) -> bool:
        """Delete a directory if there is nothing in it; return whether it is gone."""
        with self._translated():
            try:
                self._etcd.delete(directory, dir=True)
            except etcd.EtcdKeyNotFound as error:
                _check_absence(error)
                return True
            except etcd.EtcdDirNotEmpty:
                return False
        return True

    def watch(self, path: str, since: int, *, recursive: bool) -> Seen:
        """Wait a moment for the first change of a path after an index.

        Raises:
            WatchCompacted: If etcd has forgotten changes after that index. It keeps
                the last 1,000 of the whole cluster.
        """
        with self._translated():
            try:
                result = self._etcd.watch(
                    path,
                    index=since + 1,
                    timeout=self.target.timeout,
                    recursive=recursive,
                )
            except etcd.EtcdWatchTimedOut as error:
                return Seen(self._watched_up_to(since, error), None)
            except etcd.EtcdEventIndexCleared as error:
                raise WatchCompacted from error
        gone = result.action in _GONE
        change = Change(
            path=result.key,
            index=int(result.modifiedIndex),
            node=None if gone or result.dir else _node(result),
            gone=gone,
            expired=result.action == "expire",
            directory=bool(result.dir),
        )
        return Seen(change.index, change)

    def interrupt(self) -> None:
        """End a watch that is waiting in another thread, and all later ones at once."""
        self._http.interrupt()

    def close(self) -> None:
        """Close the connections, those in use as soon as their request is over."""
        self._http.clear()

    def _watched_up_to(self, since: int, error: Exception) -> int:
        """Return the index at which etcd began to wait, having looked at all before."""
        response = self._http.last
        if response is None:
            raise translated(_cause(error)) from error
        self._etcd._check_cluster_id(response)  # noqa: SLF001 - it saw no answer
        index = int(response.headers.get(_INDEX_HEADER, since))
        if index < since:
            # The server has lost its data, or is far behind: begin anew.
            raise WatchCompacted from error
        return index

    def _write(
        self, path: str, text: str | None, ttl: int | None, **condition: object
    ) -> int:
        with self._translated():
            try:
                result = self._etcd.write(path, text, ttl=ttl, **condition)
            except (etcd.EtcdAlreadyExist, etcd.EtcdCompareFailed) as error:
                raise ConditionFailed from error
            except etcd.EtcdKeyNotFound as error:
                _check_absence(error)
                raise ConditionFailed from error
        return int(result.modifiedIndex)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        known = self._etcd.expected_cluster_id
        try:
            yield
        except etcd.EtcdClusterIdChanged as error:
            # python-etcd tells it once and goes on with the new cluster.
            self._etcd.expected_cluster_id = known
            raise Refused(
                f"another cluster answers at '{self.endpoint}' than before or elsewhere"
            ) from error
        except etcd.EtcdConnectionFailed as error:
            raise translated(_cause(error)) from error
        except etcd.EtcdInsufficientPermissions as error:
            raise self._denied() from error
        except etcd.EtcdException as error:
            raise _judge(error) from error
        except _SENSELESS as error:
            raise Unavailable(f"an answer that is none of etcd's: {error!r}") from error

    def _denied(self) -> Denied:
        """Return the error for a refusal, of which etcd does not tell the reason."""
        below = f"{self.root}/*"
        user = self.target.user
        if user is None:
            return Denied(
                f"it asks who we are; add username=NAME and password_file=FILE of a "
                f"user who may read and write {below!r}"
            )
        return Denied(
            f"the password of user {user.name!r} is wrong, or they may not read and "
            f"write {below!r}; check the file of the password, and grant a role of "
            f"theirs that: ETCDCTL_API=2 etcdctl role grant ROLE --path '{below}' "
            f"--readwrite"
        )


def _check_absence(error: Any) -> None:
    """Raise unless etcd said that there is no key: python-etcd hears it in any 404."""
    if error.payload.get("errorCode") != _NO_KEY:
        raise _judge(error) from error


def _judge(error: Any) -> Exception:
    payload = error.payload or {}
    code = payload.get("errorCode")
    if code is None and _NO_V2 in str(payload.get("cause")):
        return NoSuchApi(
            "the server does not offer the v2 API: start etcd up to 3.5 with "
            "--enable-v2; etcd 3.6 has it no more"
        )
    # An answer without a code is none of etcd's, or one that was cut off.
    if not isinstance(code, int) or code in _PASSING:
        return Unavailable(str(error))
    return Refused(str(error))


def _node(result: Any) -> Node:
    return Node(
        path=result.key,
        text=result.value or "",
        index=int(result.modifiedIndex),
    )


def _as_latin_1(text: str) -> str:
    """Return what becomes UTF-8, as etcd expects it, when it is encoded as Latin-1."""
    return text.encode().decode("latin-1")


def _cause(error: Any) -> BaseException:
    """Return what python-etcd has wrapped."""
    cause: BaseException | None = getattr(error, "cause", None)
    return cause or error
