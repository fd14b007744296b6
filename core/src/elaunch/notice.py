"""Notices: what workers are told before something happens to them."""

import enum

import attrs


class NoticeKind(enum.StrEnum):
    """What is about to happen."""

    PREEMPTION = "preemption"
    """A node of the job will be taken away: save, and go on or end."""
    STOP = "stop"
    """This worker is being stopped; the signal to stop follows at once."""


@attrs.frozen(kw_only=True)
class Notice:
    """What workers are told. Host and time tell one notice from another.

    Attributes:
        kind: What is about to happen.
        reason: Why, in one line, for example the name of a signal.
        host: Host of the agent that it comes from.
        timestamp: Unix time in seconds at which that agent learned of it.
        grace: Seconds from then on until that node's workers are killed, `None` where
            nobody knows.
    """

    kind: NoticeKind
    reason: str
    host: str
    timestamp: float
    grace: float | None = None

    def is_about(self, other: "Notice") -> bool:
        """Whether both tell of the same event, one with less known than the other."""
        mine = (self.kind, self.host, self.timestamp)
        return mine == (other.kind, other.host, other.timestamp)
