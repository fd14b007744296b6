"""The endpoints of one cluster: which one is in use, and what was wrong with each.

Requests of all kinds share it: where one of them has failed the next ones go to another
endpoint, and stay with the first that answers.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import attrs

from elaunch.api import RendezvousUnreachable
from elaunch_rdzv_etcd.endpoints import Endpoint
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.trouble import Busy, Denied, NoSuchApi, Refused, Unusable


class Client(Protocol):
    """Blocking requests to one endpoint."""

    @property
    def cluster_id(self) -> str | None:
        """Id of the cluster that has answered, `None` before the first answer."""

    def close(self) -> None:
        """Close the connections, those in use as soon as their request is over."""


ClientT = TypeVar("ClientT", bound=Client)

_FIRST_PAUSE = 0.05  # seconds
_LONGEST_PAUSE = 1.0
_ADVICE = "; is it running, and is this its client port?"


def pause(attempt: int) -> float:
    """Return how long to wait after a failed attempt; many clients spread out."""
    longest: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(attempt, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, no secret


@attrs.define(eq=False)
class Ring(Generic[ClientT]):
    """The endpoints, of which one is in use. For use on one event loop.

    Attributes:
        target: The cluster.
        changed: Done when another endpoint is in use, or the same answers again after
            it did not: a stream that was open before may be dead and nobody told. Then
            there is a new one.
    """

    target: Target
    _open: Callable[[Endpoint], ClientT]
    changed: asyncio.Future[None] = attrs.field(init=False)
    _clients: dict[Endpoint, ClientT] = attrs.field(factory=dict, init=False)
    _index: int = attrs.field(default=0, init=False)
    _troubles: dict[Endpoint, Exception] = attrs.field(factory=dict, init=False)
    _cluster_id: str | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.changed = asyncio.get_running_loop().create_future()

    def __len__(self) -> int:
        return len(self.target.endpoints)

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint in use."""
        return self.target.endpoints[self._index]

    @property
    def cluster_id(self) -> str | None:
        """Id of the cluster, `None` before the first answer."""
        return self._cluster_id

    @property
    def current(self) -> ClientT:
        """The client of the endpoint in use."""
        endpoint = self.endpoint
        if endpoint not in self._clients:
            self._clients[endpoint] = self._open(endpoint)
        return self._clients[endpoint]

    def trouble_at(self, endpoint: Endpoint) -> Exception | None:
        """What was wrong last at an endpoint, if it has not answered since."""
        return self._troubles.get(endpoint)

    def failed(self, endpoint: Endpoint, error: Exception) -> None:
        """Note what was wrong with an endpoint, and go on to the next one."""
        self._troubles[endpoint] = error
        if len(self) > 1 and endpoint == self.endpoint:
            self._index = (self._index + 1) % len(self)
            self._tell_change()

    def answered(self, endpoint: Endpoint) -> None:
        """Note that an endpoint is fine.

        Raises:
            Refused: If another cluster answers there.
        """
        if self._troubles.pop(endpoint, None):
            self._tell_change()
        self.check(endpoint, self._clients[endpoint].cluster_id)

    def check(self, endpoint: Endpoint, cluster_id: str | None) -> None:
        """Note which cluster an endpoint belongs to, where that is known.

        Raises:
            Refused: If it is another one than before.
        """
        self._cluster_id = self._cluster_id or cluster_id
        if cluster_id not in {None, self._cluster_id}:
            raise Refused(
                f"another cluster answers at '{endpoint}' than before or elsewhere"
            )

    def _tell_change(self) -> None:
        changed, self.changed = self.changed, self.changed.get_loop().create_future()
        changed.set_result(None)

    @property
    def is_unusable(self) -> bool:
        """Whether each endpoint was asked, and none of them will ever do.

        Of one that has answered before, this is never known.
        """
        return self._cluster_id is None and self._all_are(Unusable)

    @property
    def lacks_api(self) -> bool:
        """Whether each endpoint was asked, and none of them offers the API."""
        return self._all_are(NoSuchApi)

    def _all_are(self, kind: type[Exception]) -> bool:
        return len(self._troubles) == len(self) and all(
            isinstance(error, kind) for error in self._troubles.values()
        )

    def endure(
        self, error: Exception, attempts: int, left: float, patience: float
    ) -> float:
        """Return how long to wait after so many failed attempts at one request.

        Another endpoint is asked at once, all of them again after a pause that grows.

        Args:
            error: How the last attempt failed.
            attempts: How many there were.
            left: Seconds until the caller gives up.
            patience: Seconds that it has waited by then.

        Raises:
            RendezvousUnreachable: If it is enough.
        """
        if self.is_unusable:
            raise self.refused(self.trouble) from error
        if isinstance(error, Busy):
            if left <= 0:
                raise RendezvousUnreachable(
                    f"etcd at '{self.target}' has refused for {patience:.3g} s: {error}"
                ) from error
            return min(pause(attempts - 1), left)
        if left <= 0:
            raise self.unreachable(patience) from error
        rounds, rest = divmod(attempts, len(self))
        return 0.0 if rest else min(pause(rounds - 1), left)

    @property
    def trouble(self) -> str:
        """What was wrong last, at each endpoint where something was; or empty."""
        told = [(e, str(t)) for e, t in self._troubles.items()]
        if len(self) == 1:
            return told[0][1] if told else ""
        return ", ".join(f"'{e}': {text}" for e, text in told)

    def unreachable(self, silence: float) -> RendezvousUnreachable:
        """Return the error for a cluster that was silent for so many seconds."""
        trouble = self.trouble or "no answer in time"
        return RendezvousUnreachable(
            f"etcd at '{self.target}' has not answered for {silence:.3g} s: {trouble}"
            + ("" if self.cluster_id else _ADVICE)
        )

    def refused(self, reason: object) -> RendezvousUnreachable:
        """Return the error for a cluster that refuses."""
        hint = "" if isinstance(reason, Denied) else "; is this the right server?"
        return RendezvousUnreachable(f"etcd at '{self.target}' refuses: {reason}{hint}")

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()
