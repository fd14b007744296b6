"""Who hosts the job's store: whoever can listen at the endpoint.

Names are not compared. An address is this node's if it can be bound here; no alias, no
second interface and no half-configured resolver can make that answer wrong.
"""

import errno
import ipaddress
import socket
from collections.abc import Sequence
from functools import partial

import attrs

from elaunch.api import (
    EventName,
    RendezvousParameters,
    RendezvousUnreachable,
    UsageError,
)
from elaunch_rdzv_c10d.addresses import (
    EVERYWHERE,
    Endpoint,
    listen,
    of_others,
    resolve,
)
from elaunch_rdzv_c10d.control_store import ControlStore
from elaunch_rdzv_c10d.dial import GivenUpError, insist, reason_of
from elaunch_rdzv_c10d.options import C10dOptions
from elaunch_rdzv_c10d.security import UNPROTECTED, Security
from elaunch_rdzv_c10d.thread_host import ThreadedServer


_OURS = "the address is this node's"
_FOREIGN = "the address is another node's"
_TAKEN = "the port is taken on this node"
_IN_WORDS = {errno.EADDRNOTAVAIL: "that is no address of this node"}
_ADVICE = {
    errno.EADDRNOTAVAIL: "let the node host that has it, or give an address that this "
    "node has; '0.0.0.0' is all of them",
    errno.EADDRINUSE: "something else listens there: choose another port, or let this "
    "node connect if that is the store of the job",
    errno.EACCES: "choose a port above 1023",
}
"""What to do about each reason for which nothing can be listened at."""

_LINGER = 2.0
"""Seconds that the other agents have to go once the host is done.

At the end of a job they hear it at once and go at once. When the host is told to stop
before that, they stay, and it must not wait for them.
"""


@attrs.frozen
class StoreOpener:
    """Opens the job's store: hosts it here, or connects to the one who does.

    Attributes:
        params: What the rendezvous is built with.
        options: Options of the backend.
        rule: Why ``options.is_host`` is what it is, where the user did not give it.
        security: What the agents of the job show each other.
        endpoint: Where the store is, or shall be.

    Raises:
        UsageError: If the endpoint is malformed, or names no host that others reach.
    """

    params: RendezvousParameters
    options: C10dOptions
    rule: str = ""
    security: Security = UNPROTECTED
    endpoint: Endpoint = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        endpoint = Endpoint.parse(self.params.endpoint)
        if endpoint.host in EVERYWHERE and not self.options.is_host:
            raise UsageError(
                f"the endpoint '{endpoint}' names no host; give an address of the "
                "host, or is_host=true on the one node that shall listen everywhere"
            )
        object.__setattr__(self, "endpoint", endpoint)

    async def __call__(self) -> ControlStore:
        """Open the store; closing it ends what this opened.

        Raises:
            NodeNotAdmitted: If the one who hosts it refuses this node.
            RendezvousUnreachable: If it can't be hosted or reached.
        """
        if self.options.is_host is False:
            return await self._join(self.rule or "is_host=false")
        server = ThreadedServer(self.params.run_id, security=self.security)
        try:
            address, port = await self._listen(server)
        except OSError as error:
            return await self._join(await self._judge(error))
        try:
            return await self._host(server, address, port)
        except BaseException:
            await server.stop()
            raise

    async def _listen(self, server: ThreadedServer) -> tuple[str, int]:
        try:
            return await insist(
                partial(
                    server.start,
                    self.endpoint.host,
                    self.endpoint.port,
                    shared=self.params.max_nodes > 1,
                ),
                # A cluster may give a node its name after it started the node.
                socket.gaierror,
                self.options.connect_limit,
                lambda trouble: self._tell_waiting(
                    f"the store at '{self.endpoint}': {trouble}"
                ),
            )
        except GivenUpError as error:
            raise RendezvousUnreachable(
                f"the host of the store is not known: '{self.endpoint}': {error}; "
                "is the endpoint right? If this node shall host it, give it an address "
                "that it has as endpoint"
            ) from None

    async def _judge(self, error: OSError) -> str:
        """Return the rule by which a failure to listen makes this node a client.

        Raises:
            RendezvousUnreachable: If the failure is no reason to be one.
        """
        if not self.options.is_host:
            if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                return _FOREIGN
            if error.errno == errno.EADDRINUSE:
                return _TAKEN
            if error.errno == errno.EACCES and not await self._is_ours():
                return _FOREIGN
        advice = _ADVICE.get(error.errno or 0, "choose another endpoint")
        raise RendezvousUnreachable(
            f"this node can't host the store at '{self.endpoint}': "
            f"{_IN_WORDS.get(error.errno or 0) or reason_of(error)}; {advice}"
        ) from error

    async def _is_ours(self) -> bool:
        try:
            listeners = listen(await resolve(self.endpoint.host, 0))
        except OSError:
            return False
        for listener in listeners:
            listener.close()
        return True

    async def _host(
        self, server: ThreadedServer, address: str, port: int
    ) -> ControlStore:
        rule = self.rule or ("is_host=true" if self.options.is_host else _OURS)
        endpoint = attrs.evolve(self.endpoint, port=port)
        self.params.record(EventName.STORE_HOSTED, endpoint=str(endpoint), rule=rule)
        if address in EVERYWHERE and self.endpoint.host not in EVERYWHERE:
            self._tell_of_loopback()
        if self.endpoint.address is None and self.params.max_nodes > 1:
            await self._tell_of_namesakes()
        self._tell_of_strangers(server.addresses, endpoint)
        own = EVERYWHERE.get(address, address)
        store = await self._connect(own, port, self.security.for_host())
        store.after_close = partial(_shut_down, server)
        return store

    async def _join(self, rule: str) -> ControlStore:
        host, port = self.endpoint.host, self.endpoint.port
        try:
            store = await self._connect(host, port, self.security)
        except RendezvousUnreachable as error:
            if self.rule:  # who made it will tell
                raise
            raise RendezvousUnreachable(
                f"{error} (this node does not host it: {rule})"
            ) from error
        self.params.record(
            EventName.STORE_CONNECTED, endpoint=str(self.endpoint), rule=rule
        )
        if store.host_run_id != self.params.run_id:
            self.params.record(
                EventName.STORE_NOTE,
                reason=f"the store at '{self.endpoint}' is hosted by job "
                f"{store.host_run_id!r}, this agent belongs to job "
                f"{self.params.run_id!r}: is --rdzv-id right?",
            )
        return store

    async def _connect(self, host: str, port: int, security: Security) -> ControlStore:
        return await ControlStore.connect(
            host,
            port,
            timeout=self.options.connect_limit,
            run_id=self.params.run_id,
            reconnect_grace=self.options.reconnect_grace,
            request_timeout=self.options.silence_limit,
            renew_timeout=self.options.heartbeat_timeout,
            security=security,
            on_waiting=self._tell_waiting,
        )

    def _tell_waiting(self, reason: str) -> None:
        self.params.record(EventName.STORE_WAITING, reason=reason)

    def _tell_of_loopback(self) -> None:
        self.params.record(
            EventName.STORE_NOTE,
            reason=f"{self.endpoint.host!r} is an address of loopback on this node, "
            "where others can't reach it, so its store listens at all addresses; give "
            "one of them as endpoint to have it listen there alone",
        )

    async def _tell_of_namesakes(self) -> None:
        try:
            others = of_others(await resolve(self.endpoint.host, 0))
        except OSError:  # a resolver that has failed since is no reason not to host
            return
        if others:
            self.params.record(
                EventName.STORE_NOTE,
                reason=f"{self.endpoint.host!r} is a name of other nodes, too "
                f"({', '.join(others)}), each of which would host a store of its own; "
                "give an endpoint that one node has",
            )

    def _tell_of_strangers(self, addresses: Sequence[str], endpoint: Endpoint) -> None:
        """Tell that everybody who reaches the store can use it."""
        reachable = not all(ipaddress.ip_address(a).is_loopback for a in addresses)
        if reachable and self.security.is_open:
            self.params.record(
                EventName.STORE_NOTE,
                reason=f"whoever reaches the store at '{endpoint}' can read and write "
                "it; give the nodes of the job a secret with --rdzv-conf "
                "token_file=PATH",
            )


async def _shut_down(server: ThreadedServer) -> None:
    """Let the other agents hear how the job ended, then end the store."""
    try:
        await server.drained(_LINGER)
    finally:
        await server.stop()
