"""How a node that is ready comes to its place, and what it tells while it waits."""

import asyncio
import contextlib

import attrs

from elaunch.errors import RendezvousTimeout
from elaunch.events import EventName
from elaunch.membership.progress import Patience, progress, who_is_missing
from elaunch.membership.records import JobPhase, NodePhase
from elaunch.membership.stay import Stay
from elaunch.rendezvous import Membership, RendezvousParameters


@attrs.frozen(eq=False, repr=False)
class Joining:
    """One wait for a place.

    Attributes:
        stay: The stay of the node.
        params: What its rendezvous is built with.
        patience: How long it waits.
    """

    stay: Stay
    params: RendezvousParameters
    patience: Patience

    async def place(self) -> Membership | None:
        """Wait for a place; `None` if this stay was lost and another must begin.

        Raises:
            RendezvousTimeout: If too few nodes came in time; names who was seen.
            RendezvousClosed: If the job is over.
            NodeNotAdmitted: If the job refuses this node.
            RendezvousUnreachable: If the store does not answer.
        """
        stay = self.stay
        while not stay.lost:
            news = stay.news()
            stay.check_admission()
            job = stay.job
            if job and job.phase is JobPhase.SEALED and job.generation > stay.stopped:
                place = await stay.place(job)
                if place:
                    return place
                stay.stopped = job.generation
                if not await stay.is_known():
                    stay.lose("this node was excluded: its workers took too long")
            elif (
                job
                and job.phase is JobPhase.FORMING
                and job.generation > stay.stopped + 1
            ):
                # Generations passed by unseen, maybe with this node as a member; its
                # workers run in none of them, and the coordinator waits to hear that.
                stay.stopped = job.generation - 1
                await stay.say(NodePhase.READY, stay.stopped)
            else:
                spare = job is not None and job.phase is JobPhase.SEALED
                await self._wait(news, spare=spare)
        return None

    async def _wait(self, news: asyncio.Event, *, spare: bool) -> None:
        """Wait for news, tell progress meanwhile, give up when patience ends."""
        loop = asyncio.get_running_loop()
        patience = self.patience
        delay = self._delay()
        if spare or delay:
            patience.rearm(loop.time() + delay)
        elif loop.time() >= patience.deadline:
            raise RendezvousTimeout(self._who_is_missing())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(
                min(patience.deadline, patience.next_progress)
            ):
                await news.wait()
        if spare or loop.time() < patience.began:  # a back-off can be taken back
            patience.rearm(loop.time())
        if loop.time() >= patience.next_progress:
            patience.told(loop.time())
            self._tell_progress(spare=spare)

    def _delay(self) -> float:
        """Return how long a back-off still is: who waits for that waits for nobody."""
        told, elapsed = self.stay.whom_it_waits_for()
        return max(0.0, told.delay - elapsed) if told else 0.0

    def _tell_progress(self, *, spare: bool) -> None:
        record, elapsed = self.stay.whom_it_waits_for()
        facts = progress(record, self.stay.settings, elapsed)
        if spare and (why := self.stay.why_left_out(self.params.clock())):
            # Nobody waits, and nobody tells of those who do.
            facts["left_out"] = [f"{self.stay.facts.host!r} ({why})"]
        self.params.record(
            EventName.RENDEZVOUS_WAITING,
            **facts,
            spare=spare,
            size=self.stay.job.size if self.stay.job else 0,
            address=self.stay.facts.address,
            store=f"{self.params.backend} {self.params.endpoint}".rstrip(),
        )

    def _who_is_missing(self) -> str:
        record, elapsed = self.stay.whom_it_waits_for()
        return who_is_missing(
            self.params.run_id,
            record,
            self.stay.settings,
            elapsed=elapsed,
            limit=self.patience.limit,
        )
