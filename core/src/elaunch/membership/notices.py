"""Notices in the store: one for the whole job, of which every node hears by its watch.

A notice is about the generation in which it was announced, and stays when its node
leaves. Where all nodes are told to go at once one of them announces it, and the others
find that it is known: a job of a thousand nodes hears one notice, not a thousand.
"""

import asyncio

import attrs

from elaunch.membership.records import JobPhase, NoticeRecord, decode, encode
from elaunch.membership.stay import Stay
from elaunch.notice import Notice
from elaunch.rendezvous import Change, ChangeKind
from elaunch.store import ABSENT


SAME_EVENT = 10.0
"""Seconds after a notice in which a further one tells the same generation nothing new.
"""


@attrs.define(eq=False, repr=False)
class Heard:
    """What one member has passed on of the notices of its generation.

    Attributes:
        generation: Number of the generation.
        revision: Revision of the last notice that was passed on.
    """

    generation: int
    revision: int = ABSENT

    def next(self, stay: Stay) -> Change | None:
        """Return a notice that is news, `None` if there is none."""
        record, revision = stay.notice, stay.notice_revision
        if record is None or record.generation != self.generation:
            return None
        if revision <= self.revision:
            return None
        self.revision, notice = revision, record.notice
        return Change(kind=ChangeKind.NOTICE, reason=notice.reason, notice=notice)


async def announce(stay: Stay, generation: int, notice: Notice) -> None:
    """Put a notice where every member of a generation sees it.

    Raises:
        RendezvousUnreachable: If the store does not take it.
    """
    known, revision = stay.notice, stay.notice_revision
    key, value = stay.keys.notice, encode(NoticeRecord(generation, notice))
    while not (_is_over(stay, generation) or _is_known(stay, known, generation)):
        if await stay.store.compare_and_set(key, value, expected=revision):
            return
        entry = await stay.store.get(key)
        known = decode(NoticeRecord, key, entry.value) if entry else None
        revision = entry.revision if entry else ABSENT
        if known and known.generation == generation:
            # Somebody was faster, just now.
            return


def _is_over(stay: Stay, generation: int) -> bool:
    """Whether nobody is a member of that generation any more, as far as is known."""
    job = stay.job
    if job is None or job.phase is JobPhase.CLOSED:
        return True
    return job.phase is JobPhase.SEALED and job.generation > generation


def _is_known(stay: Stay, known: NoticeRecord | None, generation: int) -> bool:
    if known is None or known.generation < generation:
        return False
    if known.generation > generation:
        return True
    now = asyncio.get_running_loop().time()
    return now < stay.notice_since + SAME_EVENT
