"""Who is in a generation, and who of them still runs workers.

Only its group rank 0 reads that, once, for what it hosts for the workers: it costs the
other nodes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing

import attrs

from elaunch.errors import RendezvousUnreachable
from elaunch.membership.records import (
    Assignment,
    Keys,
    NodePhase,
    NodeRecord,
    decode,
)
from elaunch.rendezvous import NodeFacts
from elaunch.store import Listing, Store, WatchCompacted


@attrs.frozen
class Members:
    """The members of one generation.

    Attributes:
        keys: Keys of the job.
        generation: Number of the generation.
        facts: What each said of itself, by the id of its node.
    """

    keys: Keys
    generation: int
    facts: Mapping[str, NodeFacts]

    @classmethod
    def read(
        cls, keys: Keys, sealed: tuple[int, int], assignments: Listing, nodes: Listing
    ) -> "Members":
        """Read them from what the store holds.

        Args:
            keys: Keys of the job.
            sealed: Number of the generation, and fencing token of who sealed it.
            assignments: All places.
            nodes: All nodes, read after the places. A node is missing if it is gone
                again: nobody waits for it any more.
        """
        here = {entry.key: entry.value for entry in nodes.entries}
        facts = {}
        for entry in assignments.entries:
            node_id = entry.key.removeprefix(keys.assignments)
            key = keys.node(node_id)
            given = decode(Assignment, entry.key, entry.value)
            place = given.membership
            # Another coordinator may have assigned places and not lived to seal them.
            if (place.generation, given.token) == sealed and key in here:
                facts[node_id] = decode(NodeRecord, key, here[key]).facts
        return cls(keys, sealed[0], facts)

    def without(self, node_id: str) -> "Members":
        """Return the others."""
        others = {key: facts for key, facts in self.facts.items() if key != node_id}
        return attrs.evolve(self, facts=others)

    def addresses(self) -> frozenset[str]:
        """Return all addresses from which their workers may connect."""
        return frozenset(
            address
            for facts in self.facts.values()
            for address in (facts.address, *facts.addresses)
        )

    async def stopped(
        self, store: Store, on_waiting: Callable[[Sequence[str]], None]
    ) -> None:
        """Wait until none of them runs workers of the generation; the gone don't.

        Args:
            store: Where the job lives.
            on_waiting: Told the hosts of those that do, if there are any.

        Raises:
            RendezvousUnreachable: If the store can't tell.
        """
        while True:
            try:
                listing = await store.list(self.keys.nodes)
                running = {e.key for e in listing.entries if self._runs(e.key, e.value)}
                if running:
                    ids = (key.removeprefix(self.keys.nodes) for key in running)
                    on_waiting(sorted(self.facts[node_id].host for node_id in ids))
                    await self._follow(store, listing.revision, running)
            except WatchCompacted:
                continue
            return

    async def _follow(self, store: Store, since: int, running: set[str]) -> None:
        watch = store.watch(self.keys.nodes, since)
        async with aclosing(watch) as events:
            async for event in events:
                if not self._runs(event.key, event.value):
                    running.discard(event.key)
                if not running:
                    return
        raise RendezvousUnreachable("the store client was closed meanwhile")

    def _runs(self, key: str, value: bytes | None) -> bool:
        """Whether what a node says of itself leaves open that its workers run."""
        if value is None or key.removeprefix(self.keys.nodes) not in self.facts:
            return False
        record = decode(NodeRecord, key, value)
        if record.generation == self.generation:
            return record.phase not in {NodePhase.READY, NodePhase.DONE}
        return record.generation < self.generation


async def read_members(store: Store, keys: Keys, sealed: tuple[int, int]) -> Members:
    """Read the members of a generation: first their places, then the nodes.

    Args:
        store: Where the job lives.
        keys: Keys of the job.
        sealed: Number of the generation, and fencing token of who sealed it.

    Raises:
        RendezvousUnreachable: If the store does not tell.
    """
    assignments = await store.list(keys.assignments)
    nodes = await store.list(keys.nodes)
    return Members.read(keys, sealed, assignments, nodes)
