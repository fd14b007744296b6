"""What another restart policy would have decided about failures that were recorded."""

from elaunch.replay.lives import lives_of
from elaunch.replay.reading import RecordedDecision, read_decisions
from elaunch.replay.replaying import WOULD_HAVE, Ending, Replay, Step, replay


__all__ = [
    "WOULD_HAVE",
    "Ending",
    "RecordedDecision",
    "Replay",
    "Step",
    "lives_of",
    "read_decisions",
    "replay",
]
