"""What happens to one membership, from what a stay sees of its job."""

from collections.abc import AsyncGenerator

import attrs

from elaunch.events import EventName, Record
from elaunch.membership.notices import Heard
from elaunch.membership.records import JobPhase
from elaunch.membership.stay import Stay
from elaunch.rendezvous import Change, ChangeKind, Membership


@attrs.frozen(eq=False, repr=False)
class News:
    """The news for one member of a generation.

    Attributes:
        stay: The stay of the node.
        membership: Its place.
        fence_grace: Seconds in which its workers must be stopped when it is lost.
        record: Told of that.
    """

    stay: Stay
    membership: Membership
    fence_grace: float
    record: Record

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield what happens to the membership, and each notice to it."""
        stay, heard = self.stay, Heard(self.membership.generation)
        superseded = False
        while True:
            news = stay.news()
            if notice := heard.next(stay):
                yield notice
            change = self.change()
            if change and change.kind is not ChangeKind.SUPERSEDED:
                yield change
                return
            if change and not superseded:
                superseded = True
                yield change
            else:
                await news.wait()

    def change(self) -> Change | None:
        """Return what has happened to the membership, `None` if nothing has.

        Raises:
            Exception: The fault that broke the stay.
        """
        stay = self.stay
        if stay.broken:
            raise stay.broken
        job = stay.job
        # A job that is over is over, also for a node that has lost the store since.
        if job and job.phase is JobPhase.CLOSED:
            return Change(
                kind=ChangeKind.CLOSED, reason=job.reason, outcome=job.outcome
            )
        if stay.lost:
            self.record(EventName.RENDEZVOUS_LOST, reason=stay.lost)
            return Change(
                kind=ChangeKind.LOST, reason=stay.lost, grace=self.fence_grace
            )
        if job and job.generation > self.membership.generation:
            return Change(
                kind=ChangeKind.SUPERSEDED,
                reason=job.reason,
                failed=job.failed >= self.membership.generation,
            )
        return None
