"""What an agent can be told from outside, by a command say, while it runs."""

from collections.abc import Callable, Sequence

import attrs

from elaunch.agent.machine import Machine
from elaunch.agent.messages import Drained, Stimulus
from elaunch.agent.transitions import State
from elaunch.errors import ControlFailed
from elaunch.events import EventName, Record
from elaunch.rendezvous import Outcome, OutcomeState, RendezvousHandler
from elaunch.vitals import MemberStatus


@attrs.frozen(eq=False, kw_only=True)
class Controls:
    """Asks the agent's machine, or the whole job; see `elaunch.endpoint.bridge`.

    Attributes:
        host: Host of this node.
        handler: Its side of the rendezvous.
        machine: Knows where the agent stands.
        feed: Given what concerns its machine.
        record: Told what was asked for.
    """

    host: str
    handler: RendezvousHandler
    machine: Machine
    feed: Callable[[Stimulus], None]
    record: Record

    async def members(self) -> Sequence[MemberStatus]:
        """Return how the nodes of the job are."""
        return await self.handler.members()

    async def drain(self, reason: str, peer: str) -> None:
        """Have this node leave the job, which goes on without it."""
        self._begin("drain", reason, peer, not_in=ENDING)
        if self.machine.is_needed:
            raise ControlFailed(
                "its workers are done, and those of others use what this node hosts "
                "for them; it ends with them"
            )
        # A spare may be there to take the place.
        if self.machine.is_alone and len(await self.handler.members()) == 1:
            raise ControlFailed(
                "the job has no other node that could go on; 'elaunch stop' ends it"
            )
        self.feed(Drained(_because("drained", reason)))

    async def restart(self, reason: str, peer: str) -> None:
        """Have the workers of the whole job start anew, at no cost."""
        self._begin("restart", reason, peer, not_in=RESTLESS)
        await self.handler.restart(self._asked("restart", reason))

    async def stop(self, reason: str, peer: str) -> None:
        """End the job, on all nodes."""
        self._begin("stop", reason, peer, not_in=ENDING)
        told = self._asked("stop", reason)
        await self.handler.close(Outcome(state=OutcomeState.FAILED, reason=told))

    def _begin(
        self, request: str, reason: str, peer: str, *, not_in: frozenset[State]
    ) -> None:
        state = self.machine.state
        refused = f"the agent is {state}, so there is nothing to {request}"
        self.record(
            EventName.CONTROL_REQUEST,
            request=request,
            reason=reason,
            peer=peer,
            refused=refused if state in not_in else "",
        )
        if state in not_in:
            raise ControlFailed(refused)

    def _asked(self, request: str, reason: str) -> str:
        return _because(f"{request} by a user on {self.host!r}", reason)


ENDING = frozenset({State.LEAVING, State.FINISHED})
"""Where an agent ends anyway."""

RESTLESS = ENDING | {State.NEW, State.JOINING, State.STOPPING}
"""Where no workers run, or are being stopped already."""


def _because(what: str, reason: str) -> str:
    return f"{what}: {reason}" if reason else what
