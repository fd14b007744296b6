"""The agent's states, and which stimulus each of them takes."""

import enum
from collections.abc import Mapping

from elaunch.agent.messages import (
    Announced,
    Asked,
    Begin,
    Changed,
    Drained,
    Exited,
    Found,
    Joined,
    JoinFailed,
    Left,
    Noticed,
    Signalled,
    Started,
    StartFailed,
    Stopped,
    Waited,
)


class State(enum.StrEnum):
    """Where the agent stands."""

    NEW = "new"
    JOINING = "joining"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    WAITING = "waiting"
    LEAVING = "leaving"
    FINISHED = "finished"


TRANSITIONS: Mapping[tuple[State, type], str] = {
    (State.NEW, Begin): "_join",
    (State.NEW, Signalled): "_leave_for_order",
    (State.NEW, Drained): "_leave_for_order",
    (State.NEW, Noticed): "_keep_notice",
    (State.JOINING, Joined): "_start",
    (State.JOINING, JoinFailed): "_not_joined",
    (State.JOINING, Signalled): "_leave_for_order",
    (State.JOINING, Drained): "_leave_for_order",
    (State.JOINING, Noticed): "_keep_notice",
    (State.STARTING, Started): "_run",
    (State.STARTING, StartFailed): "_not_started",
    (State.STARTING, Changed): "_stop_for_change",
    (State.STARTING, Signalled): "_stop_for_order",
    (State.STARTING, Drained): "_stop_for_order",
    (State.STARTING, Noticed): "_announce",
    (State.STARTING, Announced): "_tell_when_started",
    (State.RUNNING, Exited): "_exited",
    (State.RUNNING, Found): "_found",
    (State.RUNNING, Asked): "_asked",
    (State.RUNNING, Changed): "_stop_for_change",
    (State.RUNNING, Signalled): "_stop_for_order",
    (State.RUNNING, Drained): "_stop_for_order",
    (State.RUNNING, Noticed): "_announce",
    (State.RUNNING, Announced): "_tell_workers",
    (State.STOPPING, Exited): "_noted_exit",
    (State.STOPPING, Asked): "_asked_while_stopping",
    (State.STOPPING, Changed): "_note_change",
    (State.STOPPING, Signalled): "_signal_while_stopping",
    (State.STOPPING, Drained): "_note_order",
    (State.STOPPING, Noticed): "_keep_notice",
    (State.STOPPING, Stopped): "_stopped",
    (State.WAITING, Changed): "_change_when_done",
    (State.WAITING, Signalled): "_leave_when_done",
    (State.WAITING, Drained): "_drain_when_done",
    (State.WAITING, Noticed): "_announce",
    (State.WAITING, Waited): "_leave_early",
    (State.LEAVING, Signalled): "_finish",
    (State.LEAVING, Left): "_finish",
}

LATE: frozenset[tuple[State, type]] = frozenset(
    {
        # A membership that was left behind can still have had news.
        (State.JOINING, Changed),
        (State.LEAVING, Changed),
        # So has one whose workers have ended, or are stopped and told why.
        (State.STOPPING, Announced),
        (State.WAITING, Announced),
        (State.JOINING, Announced),
        (State.LEAVING, Announced),
        # Who leaves has no workers any more, and is a member no more.
        (State.LEAVING, Noticed),
        # Whoever leaves needs not be told to.
        (State.LEAVING, Drained),
        # The others can be done, or need this node, when its patience ends.
        (State.JOINING, Waited),
        (State.LEAVING, Waited),
        # A join that was given up can still have ended first.
        (State.LEAVING, Joined),
        (State.LEAVING, JoinFailed),
        # A start that a stop overtook can still have ended first.
        (State.STOPPING, Started),
        (State.STOPPING, StartFailed),
        # A monitor speaks when it likes.
        (State.STOPPING, Found),
        (State.WAITING, Found),
        (State.JOINING, Found),
        (State.LEAVING, Found),
        # A process that a worker has left may ask for something.
        (State.WAITING, Asked),
        (State.JOINING, Asked),
        (State.LEAVING, Asked),
        # Whoever is finished hears nothing.
        *(
            (State.FINISHED, kind)
            for kind in (
                *(Changed, Announced, Noticed, Signalled, Drained),
                *(Found, Asked, Exited, Waited, Left, Joined, JoinFailed),
            )
        ),
    }
)
"""What a state takes and makes nothing of."""
