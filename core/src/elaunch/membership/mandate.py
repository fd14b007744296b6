"""The mandate of a coordinator: what it writes counts only while it has the office.

It is fenced by the revision of ``job/state``: a new coordinator first rewrites that
key, so every decision that an older one still has in flight fails its compare-and-set.
"""

import attrs

from elaunch.membership.records import JobPhase, JobRecord, Keys, decode, encode
from elaunch.store import ABSENT, Store


class SteppedDownError(Exception):
    """Another coordinator has taken over."""


@attrs.define(eq=False, repr=False, kw_only=True)
class Mandate:
    """The right of one coordinator to write for the job.

    Attributes:
        store: Where the job lives.
        keys: Keys of the job.
        token: Fencing token: the revision at which ``job/coordinator`` was created.
        job: The job's record; only once it was claimed.
        revision: Its revision.
    """

    store: Store
    keys: Keys
    token: int
    job: JobRecord = attrs.field(init=False)
    revision: int = attrs.field(default=ABSENT, init=False)

    async def claim(self, first: JobRecord | None) -> bool:
        """Rewrite the job's state, so that no older coordinator can write it.

        The state is read before the office is checked: whatever a newer coordinator
        claims from there on makes this claim fail.

        Args:
            first: The record of a job that is not known; `None` to begin none.

        Returns:
            Whether there is a job.

        Raises:
            SteppedDownError: If the office has been lost meanwhile.
        """
        while True:
            entry = await self.store.get(self.keys.state)
            office = await self.store.get(self.keys.coordinator)
            if office is None or office.revision != self.token:
                raise SteppedDownError
            job = decode(JobRecord, entry.key, entry.value) if entry else first
            if job is None:
                return False
            revision = await self.store.compare_and_set(
                self.keys.state,
                encode(job),
                expected=entry.revision if entry else ABSENT,
            )
            if revision is not None:
                self.revision, self.job = revision, job
                return True

    async def check(self) -> None:
        """Make sure that nobody has claimed the job since.

        Only a user's explicit close may overtake a coordinator that still is one; then
        the end is taken over from there.

        Raises:
            SteppedDownError: If another coordinator has claimed it.
        """
        entry = await self.store.get(self.keys.state)
        if entry is None:
            raise SteppedDownError
        if entry.revision == self.revision:
            return
        job = decode(JobRecord, entry.key, entry.value)
        if job.phase is not JobPhase.CLOSED:
            raise SteppedDownError
        self.revision, self.job = entry.revision, job

    async def write(self, job: JobRecord) -> bool:
        """Write the job's record; tell whether no user's close came before that.

        Raises:
            SteppedDownError: If another coordinator has claimed it.
        """
        revision = await self.store.compare_and_set(
            self.keys.state, encode(job), expected=self.revision
        )
        if revision is None:
            await self.check()
            return False
        self.revision, self.job = revision, job
        return True

    async def put(self, key: str, record: object, expected: int) -> int:
        """Write a key that only coordinators write; return its revision.

        Args:
            key: The key.
            record: What to write.
            expected: Its revision as far as is known.

        Raises:
            SteppedDownError: If another coordinator has claimed the job.
        """
        while True:
            revision = await self.store.compare_and_set(
                key, encode(record), expected=expected
            )
            if revision is not None:
                return revision
            # Another coordinator wrote it: an older one, which is overruled, or a newer
            # one. The key is read before the office is checked, so that whatever a
            # newer one writes from here on makes the next attempt fail.
            entry = await self.store.get(key)
            await self.check()
            expected = entry.revision if entry else ABSENT
