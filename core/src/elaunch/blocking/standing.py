"""How one node stands, where nobody can be told but who asks it."""

import asyncio

import attrs

from elaunch.rendezvous import Membership, NodeFacts
from elaunch.vitals import MemberStatus, Vitals


@attrs.define(eq=False)
class Standing:
    """What a node knows of itself.

    Attributes:
        state: What it reported last.
        unfit: Why it stays out, or empty.
        vitals: How it goes.
    """

    state: str = "ready"
    unfit: str = ""
    vitals: Vitals | None = None
    _fit: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    def withhold(self, reason: str) -> None:
        """Note why it stays out, or that it does not any more."""
        self.unfit = reason
        if reason:
            self._fit.clear()
        else:
            self._fit.set()

    async def fit(self) -> None:
        """Wait until it does not stay out."""
        while self.unfit:
            await self._fit.wait()

    def status(self, node: NodeFacts, place: Membership | None) -> MemberStatus:
        """Return how it is.

        Args:
            node: What it says of itself.
            place: Its last place.
        """
        told = self.vitals or Vitals(generation=0)
        return MemberStatus(
            node=node.host,
            host=node.host,
            address=node.address,
            role=node.role,
            local_world_size=node.local_world_size,
            state=self.state,
            generation=place.generation if place else 0,
            group_rank=place.group_rank if place else None,
            unfit=self.unfit,
            progress=told.progress,
            pace=told.pace,
            findings=told.findings,
        )
