"""What nodes write into the store is JSON: it comes back, and it runs nothing."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from elaunch import RendezvousCorrupt
from elaunch.failures import ProcessFailure
from elaunch.membership.records import (
    Assignment,
    JobRecord,
    NodePhase,
    NodeRecord,
    decode,
    encode,
)
from elaunch.rendezvous import JobSettings, NodeFacts


RECORD = NodeRecord(
    facts=NodeFacts(
        host="h", address="10.0.0.1", local_world_size=3, role="trainer", slot=2
    ),
    settings=JobSettings(min_nodes=1, max_nodes=4),
    phase=NodePhase.FAILED,
    generation=7,
    failures=(
        ProcessFailure(
            rank=1, local_rank=1, role="r", host="h", pid=7, exitcode=3, timestamp=1.5
        ),
    ),
)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_what_a_node_says_of_itself_survives_the_store() -> None:
    assert decode(NodeRecord, "nodes/a", encode(RECORD)) == RECORD


@pytest.mark.parametrize("kind", [NodeRecord, JobRecord, Assignment])
def test_a_pickle_in_the_store_is_refused_and_runs_nothing(
    kind: type[Any], tmp_path: Path
) -> None:
    path = tmp_path / "ran"
    bomb = pickle.dumps(Bomb(path))

    with pytest.raises(RendezvousCorrupt, match="'job/state'"):
        decode(kind, "job/state", bomb)

    assert not path.exists()
    pickle.loads(bomb)  # noqa: S301 - the bomb works
    assert path.exists()


@pytest.mark.parametrize("value", [b"", b"{}", b"[1]", b'{"facts": 3}', b"\xff\x00"])
def test_what_is_no_record_is_refused(value: bytes) -> None:
    with pytest.raises(RendezvousCorrupt, match="'nodes/a'"):
        decode(NodeRecord, "nodes/a", value)
