"""The rendezvous `static`: a fixed set of nodes, each with a rank that it was given.

Nothing is guessed. The node of rank 0 hosts the store, the others connect to it, and
nobody gets a rank but the one it was given.
"""

import os
import secrets
import socket

import attrs

from elaunch.api import (
    NodeFacts,
    RendezvousParameters,
    RendezvousUnreachable,
    StoreRendezvous,
    UsageError,
)
from elaunch_rdzv_c10d.addresses import EVERYWHERE, Endpoint
from elaunch_rdzv_c10d.control_store import ControlStore
from elaunch_rdzv_c10d.hosting import StoreOpener
from elaunch_rdzv_c10d.options import StaticOptions
from elaunch_rdzv_c10d.rank_claim import RankClaim
from elaunch_rdzv_c10d.security import UNPROTECTED, Security, load_security


DEFAULT_PORT = 29500
"""Port of an endpoint that names none, as torchrun's."""

_RULE = "the node of rank 0 hosts"


def static_rendezvous(
    params: RendezvousParameters, options: StaticOptions
) -> StoreRendezvous:
    """Return this node's side of a job whose nodes and ranks are fixed.

    Raises:
        UsageError: If the number of nodes, this node's rank or the endpoint is left
            open, or token or certificates can't be used; tells how to give it.
    """
    least, most = params.min_nodes, params.max_nodes
    if least != most:
        raise UsageError(
            f"the rendezvous 'static' has a fixed set of nodes, not {least} to {most}; "
            f"write --nnodes {most}, or choose --rdzv-backend c10d"
        )
    rank = _given_rank(params, options)
    endpoint = _given_endpoint(params, rank)
    facts = params.node or _facts(params)
    params = attrs.evolve(
        params, endpoint=str(endpoint), node=attrs.evolve(facts, slot=rank)
    )
    if options.population is None:
        options = attrs.evolve(options, population=most)
    opener = StaticOpener(params, options, rank, load_security(options))
    return StoreRendezvous(opener, params, options)


@attrs.frozen
class StaticOpener:
    """Opens the job's store, in which this node holds its rank.

    Attributes:
        params: What the rendezvous is built with.
        options: Options of the backend.
        rank: This node's rank.
        security: What the agents of the job show each other.
        owner: Tells this agent from every other.
    """

    params: RendezvousParameters
    options: StaticOptions
    rank: int
    security: Security = UNPROTECTED
    owner: str = attrs.field(
        factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    )

    async def __call__(self) -> ControlStore:
        """Open the store; as rank 0, host it.

        Raises:
            NodeNotAdmitted: If the one who hosts it refuses this node.
            RendezvousUnreachable: If it can't be hosted or reached.
        """
        options = self.options.hosting(is_host=self.rank == 0)
        try:
            store = await StoreOpener(self.params, options, _RULE, self.security)()
        except RendezvousUnreachable as error:
            raise RendezvousUnreachable(
                f"{error} (this node has rank {self.rank}; {_RULE} the store)"
            ) from error
        store.after_lease = RankClaim(
            store, self.params.run_id, self.rank, self.owner, self.params.record
        )
        return store


def _given_rank(params: RendezvousParameters, options: StaticOptions) -> int:
    slot = params.node.slot if params.node else None
    if slot is not None and options.rank not in (None, slot):
        raise UsageError(
            f"--rdzv-conf gives rank={options.rank}, but --node-rank or the "
            f"environment gives this node the rank {slot}; leave out the former, or "
            f"write --node-rank {options.rank}"
        )
    rank = options.rank if slot is None else slot
    if rank is None and params.max_nodes == 1:
        return 0
    if rank is None:
        raise UsageError(
            "the rendezvous 'static' needs the rank of each node; give --node-rank or "
            f"ELAUNCH_NODE_RANK, from 0 to {params.max_nodes - 1}"
        )
    if not 0 <= rank < params.max_nodes:
        raise UsageError(
            f"the rank of a node must be from 0 to {params.max_nodes - 1}, not {rank}"
        )
    return rank


def _given_endpoint(params: RendezvousParameters, rank: int) -> Endpoint:
    text = params.endpoint.strip()
    if not text or text.startswith(":"):
        raise _incomplete(params, "host")
    endpoint = Endpoint.parse(text, DEFAULT_PORT)
    if endpoint.host in EVERYWHERE and rank != 0:
        raise _incomplete(params, "host")
    if endpoint.port == 0 and params.max_nodes > 1:
        raise _incomplete(params, "port")
    return endpoint


def _incomplete(params: RendezvousParameters, missing: str) -> UsageError:
    return UsageError(
        f"the endpoint {params.endpoint!r} names no {missing}; give --rdzv-endpoint "
        f"host:port with the address of the node of rank 0"
    )


def _facts(params: RendezvousParameters) -> NodeFacts:
    host = socket.gethostname()
    return NodeFacts(host=host, address=params.local_addr or host)
