"""What events are made of."""

from elaunch.elastic.events import (
    Event,
    EventMetadataValue,
    EventSource,
    NodeState,
    RdzvEvent,
)


__all__ = ["Event", "EventMetadataValue", "EventSource", "NodeState", "RdzvEvent"]
