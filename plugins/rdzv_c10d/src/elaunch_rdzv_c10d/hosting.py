"""Who hosts the job's store: whoever can listen at the endpoint.

Names are not compared. An address is this node's if it can be bound here; no alias, no
second interface and no half-configured resolver can make that answer wrong.
"""

import errno
import ipaddress
import socket
from functools import partial

import attrs

from elaunch.api import (
    EventName,
    RendezvousParameters,
    RendezvousUnreachable,
    UsageError,
)
from elaunch_rdzv_c10d.addresses import EVERYWHERE, Endpoint, listen, resolve
from elaunch_rdzv_c10d.control_store import ControlStore
from elaunch_rdzv_c10d.dial import GivenUpError, insist, reason_of
from elaunch_rdzv_c10d.options import C10dOptions
from elaunch_rdzv_c10d.thread_host import ThreadedServer


_OURS = "the address is this node's"
_FOREIGN = "the address is another node's"
_TAKEN = "the port is taken on this node"
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
        endpoint: Where the store is, or shall be.

    Raises:
        UsageError: If the endpoint is malformed, or names no host that others reach.
    """

    params: RendezvousParameters
    options: C10dOptions
    rule: str = ""
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
            RendezvousUnreachable: If it can't be hosted or reached.
        """
        if self.options.is_host is False:
            return await self._join(self.rule or "is_host=false")
        server = ThreadedServer(self.params.run_id)
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
                partial(server.start, self.endpoint.host, self.endpoint.port),
                # A cluster may give a node its name after it started the node.
                socket.gaierror,
                self.options.connect_limit,
                self._tell_waiting,
            )
        except GivenUpError as error:
            raise RendezvousUnreachable(
                f"the host of the store is not known: '{self.endpoint}': {error}; "
                "is the endpoint right?"
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
        raise RendezvousUnreachable(
            f"this node can't host the store at '{self.endpoint}': {reason_of(error)}; "
            "choose another port, or the node that hosts"
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
        self._warn_of_loopback(address)
        store = await self._connect(EVERYWHERE.get(address, address), port)
        store.after_close = partial(_shut_down, server)
        return store

    async def _join(self, rule: str) -> ControlStore:
        host, port = self.endpoint.host, self.endpoint.port
        store = await self._connect(host, port)
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

    async def _connect(self, host: str, port: int) -> ControlStore:
        return await ControlStore.connect(
            host,
            port,
            timeout=self.options.connect_limit,
            run_id=self.params.run_id,
            reconnect_grace=self.options.reconnect_grace,
            request_timeout=self.options.lease_ttl,
            renew_timeout=self.options.heartbeat_timeout,
            on_waiting=self._tell_waiting,
        )

    def _tell_waiting(self, reason: str) -> None:
        self.params.record(EventName.STORE_WAITING, reason=reason)

    def _warn_of_loopback(self, address: str) -> None:
        """Tell of a host file that gives this node's name to itself only."""
        named = self.endpoint.address is None and self.endpoint.host != "localhost"
        if (
            named
            and self.params.max_nodes > 1
            and ipaddress.ip_address(address).is_loopback
        ):
            self.params.record(
                EventName.STORE_NOTE,
                reason=f"{self.endpoint.host!r} is the loopback address {address} on "
                "this node: others can't reach its store; give an address as endpoint",
            )


async def _shut_down(server: ThreadedServer) -> None:
    """Let the other agents hear how the job ended, then end the store."""
    try:
        await server.drained(_LINGER)
    finally:
        await server.stop()
