"""The endpoints of a cluster: in turn, sticky, and each with what was wrong with it."""

import attrs
import pytest

from elaunch.api import RendezvousUnreachable
from elaunch_rdzv_etcd.endpoints import Endpoint, parse_endpoints
from elaunch_rdzv_etcd.ring import Ring, pause
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.trouble import (
    Denied,
    NoSuchApi,
    Refused,
    Unavailable,
    Unusable,
)


A, B, C = parse_endpoints("a,b,c")
SILENT = Unavailable("no answer")


@attrs.define(eq=False)
class Client:
    endpoint: Endpoint
    cluster_id: str | None = "cluster"
    closed: bool = False

    def close(self) -> None:
        self.closed = True


def ring_of(*endpoints: Endpoint) -> Ring[Client]:
    return Ring(Target(endpoints or (A, B, C), timeout=1.0), Client)


def test_pauses_grow_to_a_second_and_stay_there() -> None:
    pauses = [pause(attempt) for attempt in (0, 2, 4, 10, 100_000)]

    for length, longest in zip(pauses, (0.05, 0.2, 0.8, 1.0, 1.0), strict=True):
        assert longest / 2 <= length <= longest


@pytest.mark.asyncio
async def test_endpoints_are_asked_in_turn_and_the_first_again_after_the_last() -> None:
    ring = ring_of()
    asked = []
    for _ in range(4):
        asked.append(ring.current.endpoint)
        ring.failed(ring.endpoint, SILENT)

    assert asked == [A, B, C, A]


@pytest.mark.asyncio
async def test_the_endpoint_that_answers_is_stayed_with() -> None:
    ring = ring_of()
    ring.failed(A, SILENT)
    answering = ring.current
    ring.answered(B)

    assert ring.endpoint == B
    assert ring.current is answering


@pytest.mark.asyncio
async def test_requests_that_failed_together_turn_it_once() -> None:
    ring = ring_of()
    for _ in range(5):
        ring.failed(A, SILENT)

    assert ring.endpoint == B


@pytest.mark.asyncio
async def test_who_waits_hears_of_each_turn_and_of_an_answer_after_trouble() -> None:
    ring = ring_of()
    turned = ring.changed
    ring.failed(A, SILENT)
    back = ring.changed
    ring.failed(A, SILENT)
    assert (turned.done(), back.done()) == (True, False)
    assert ring.current.endpoint == B
    ring.failed(B, SILENT)
    ring.failed(C, SILENT)
    assert ring.current.endpoint == A
    well = ring.changed
    ring.answered(A)
    calm = ring.changed
    ring.answered(A)

    assert (well.done(), calm.done()) == (True, False)


@pytest.mark.asyncio
async def test_each_endpoint_is_named_with_its_last_error() -> None:
    ring = ring_of(A, B)
    ring.failed(A, Unavailable("first"))
    ring.failed(B, Unavailable("refused"))
    ring.failed(A, Unavailable("last"))

    assert ring.trouble == "'a:2379': last, 'b:2379': refused"
    assert str(ring.unreachable(2.0)) == (
        "etcd at 'a:2379,b:2379' has not answered for 2 s: 'a:2379': last, 'b:2379': "
        "refused; is it running, and is this its client port?"
    )


@pytest.mark.asyncio
async def test_an_endpoint_that_answers_again_is_in_no_trouble() -> None:
    ring = ring_of(A, B)
    ring.failed(A, SILENT)
    assert ring.current.endpoint == B
    ring.failed(B, SILENT)
    assert ring.current.endpoint == A
    ring.answered(A)

    assert ring.trouble == "'b:2379': no answer"


@pytest.mark.asyncio
async def test_one_endpoint_is_named_once() -> None:
    ring = ring_of(A)
    ring.failed(A, SILENT)

    assert ring.endpoint == A
    assert str(ring.unreachable(0.5)).startswith(
        "etcd at 'a:2379' has not answered for 0.5 s: no answer; is it running"
    )


@pytest.mark.asyncio
async def test_a_pause_comes_after_a_whole_round_and_grows() -> None:
    ring = ring_of()
    ring.failed(A, SILENT)
    pauses = [ring.endure(SILENT, n, left=60.0, patience=60.0) for n in range(1, 16)]

    assert [n for n, length in enumerate(pauses, 1) if length] == [3, 6, 9, 12, 15]
    for length, longest in zip(pauses[2::3], (0.05, 0.1, 0.2, 0.4, 0.8), strict=True):
        assert longest / 2 <= length <= longest


@pytest.mark.asyncio
async def test_no_pause_is_longer_than_what_is_left() -> None:
    assert ring_of(A).endure(SILENT, 100, left=0.01, patience=60.0) == 0.01


@pytest.mark.asyncio
async def test_when_nothing_is_left_it_is_enough() -> None:
    ring = ring_of()
    ring.failed(A, SILENT)

    with pytest.raises(RendezvousUnreachable, match=r"answered for 7 s: 'a:2379': no"):
        ring.endure(SILENT, 1, left=0.0, patience=7.0)


@pytest.mark.asyncio
async def test_what_no_endpoint_will_ever_do_is_refused_at_once() -> None:
    ring = ring_of(A, B)
    wrong = Unusable("wrong certificate")
    ring.failed(A, wrong)
    assert ring.endure(wrong, 1, left=60.0, patience=60.0) == 0.0
    ring.failed(B, NoSuchApi("no such API"))

    assert (ring.is_unusable, ring.lacks_api) == (True, False)
    with pytest.raises(
        RendezvousUnreachable,
        match=r"refuses: 'a:2379': wrong certificate, 'b:2379': no such API; is this",
    ):
        ring.endure(wrong, 2, left=60.0, patience=60.0)


@pytest.mark.asyncio
async def test_one_that_is_silent_may_still_be_of_use() -> None:
    ring = ring_of(A, B)
    ring.failed(A, Unusable("wrong certificate"))
    ring.failed(B, SILENT)

    assert not ring.is_unusable


@pytest.mark.asyncio
async def test_a_cluster_lacks_what_each_of_its_endpoints_lacks() -> None:
    ring = ring_of(A, B)
    for endpoint in A, B:
        assert not ring.lacks_api
        ring.failed(endpoint, NoSuchApi("no such API"))

    assert ring.lacks_api


@pytest.mark.asyncio
async def test_another_cluster_at_one_of_the_endpoints_is_refused() -> None:
    ring = ring_of()
    assert (ring.current.endpoint, ring.cluster_id) == (A, None)
    ring.answered(A)
    ring.failed(A, SILENT)
    ring.current.cluster_id = "stranger"

    assert ring.cluster_id == "cluster"
    with pytest.raises(Refused, match="another cluster answers at 'b:2379'"):
        ring.answered(B)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("reason", "end"),
    [
        (Refused("it won't"), "it won't; is this the right server?"),
        (Denied("x"), ": x"),
    ],
)
async def test_who_may_not_is_not_asked_whether_it_is_the_right_server(
    reason: Refused, end: str
) -> None:
    assert str(ring_of().refused(reason)).endswith(end)


@pytest.mark.asyncio
async def test_closing_closes_what_was_opened() -> None:
    ring = ring_of()
    first = ring.current
    ring.failed(A, SILENT)
    second = ring.current
    ring.close()

    assert (first.closed, second.closed) == (True, True)
