"""What an agent can be told from outside, by a command say, while it runs."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import attrs

from elaunch.agent.machine import Machine
from elaunch.agent.messages import Drained, Stimulus
from elaunch.agent.transitions import State
from elaunch.errors import ControlFailed, ElaunchError
from elaunch.events import EventName, Record
from elaunch.rendezvous import Outcome, OutcomeState, RendezvousHandler
from elaunch.vitals import MemberStatus


@attrs.frozen(eq=False, repr=False, kw_only=True)
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
        with self._recorded("drain", reason, peer):
            self._refuse_in(ENDING, "drain")
            await self._refuse_if_needed()
        self.feed(Drained(_because("drained", reason)))

    async def restart(self, reason: str, peer: str) -> None:
        """Have the workers of the whole job start anew, at no cost."""
        with self._recorded("restart", reason, peer):
            self._refuse_in(RESTLESS, "restart")
        await self.handler.restart(self._asked("restart", reason))

    async def stop(self, reason: str, peer: str) -> None:
        """End the job, on all nodes."""
        with self._recorded("stop", reason, peer):
            self._refuse_in(ENDING, "stop")
        told = self._asked("stop", reason)
        await self.handler.close(Outcome(state=OutcomeState.FAILED, reason=told))

    @contextlib.contextmanager
    def _recorded(self, request: str, reason: str, peer: str) -> Iterator[None]:
        """Record what was asked for, with why the block refuses it, if it does."""
        refused = ""
        try:
            yield
        except ElaunchError as error:
            refused = str(error)
            raise
        finally:
            self.record(
                EventName.CONTROL_REQUEST,
                request=request,
                reason=reason,
                peer=peer,
                refused=refused,
            )

    def _refuse_in(self, states: frozenset[State], request: str) -> None:
        state = self.machine.state
        if state in states:
            raise ControlFailed(
                f"the agent is {state}, so there is nothing to {request}"
            )

    async def _refuse_if_needed(self) -> None:
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

    def _asked(self, request: str, reason: str) -> str:
        return _because(f"{request} by a user on {self.host!r}", reason)


ENDING = frozenset({State.LEAVING, State.FINISHED})
"""Where an agent ends anyway."""

RESTLESS = ENDING | {State.NEW, State.JOINING, State.STOPPING}
"""Where no workers run, or are being stopped already."""


def _because(what: str, reason: str) -> str:
    return f"{what}: {reason}" if reason else what
