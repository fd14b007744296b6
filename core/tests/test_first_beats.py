"""The first heartbeat of each worker is an event of its own."""

import attrs
import pytest

from elaunch.agent.first_beats import FirstBeats
from elaunch.api import (
    EventName,
    Feed,
    MessageKind,
    WorkerMessage,
    WorkerRanks,
    WorkerSpec,
)


@attrs.define(eq=False)
class Group:
    """Workers with the global ranks 4 and 5, of which two are here."""

    messages: Feed[WorkerMessage] = attrs.field(factory=Feed)
    told: list[dict[str, object]] = attrs.field(factory=list)
    beats: FirstBeats = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.beats = FirstBeats(self.messages, self.record)

    def record(self, name: EventName, /, **facts: object) -> None:
        assert name is EventName.WORKER_FIRST_HEARTBEAT
        self.told.append(facts)

    def begin(self) -> None:
        self.beats.begin(
            [
                WorkerSpec(
                    ranks=WorkerRanks(local_rank=n, rank=4 + n, role_rank=n),
                    environment={},
                    role="default",
                )
                for n in range(2)
            ]
        )

    def say(
        self,
        rank: int,
        kind: MessageKind = MessageKind.HEARTBEAT,
        step: int | None = None,
    ) -> None:
        self.messages.tell(
            WorkerMessage(local_rank=rank, kind=kind, time=0.0, step=step)
        )


@pytest.fixture
def group() -> Group:
    return Group()


def test_it_is_told_of_each_worker_once(group: Group) -> None:
    group.begin()
    for rank, step in ((1, 7), (1, 8), (0, None), (0, 9)):
        group.say(rank, step=step)

    assert group.told == [
        {"rank": 5, "local_rank": 1, "step": 7},
        {"rank": 4, "local_rank": 0, "step": None},
    ]


def test_nobody_listens_when_all_are_heard_of(group: Group) -> None:
    group.begin()
    assert group.messages
    group.say(0)
    assert group.messages
    group.say(1)

    assert not group.messages


def test_other_messages_are_no_heartbeat(group: Group) -> None:
    group.begin()
    for kind in set(MessageKind) - {MessageKind.HEARTBEAT}:
        group.say(0, kind)
    group.say(9)

    assert group.told == []


def test_each_group_has_its_own(group: Group) -> None:
    for _ in range(2):
        group.begin()
        group.say(1)
        group.beats.end()
        group.beats.end()
        group.say(0)

    assert group.told == [{"rank": 5, "local_rank": 1, "step": None}] * 2
