"""The backend as the launcher uses it: through its provider."""

import asyncio

import attrs
import pytest

from elaunch.api import (
    NodeState,
    OutcomeState,
    RendezvousHandler,
    RendezvousParameters,
    UsageError,
)
from elaunch.testing import join_all, next_change, parameters
from elaunch_rdzv_etcd import plugin


def build(params: RendezvousParameters, **options: object) -> RendezvousHandler:
    providers = plugin.elaunch_register_rendezvous()
    (provider,) = (p for p in providers if p.name == params.backend)
    return provider.create(params, provider.options_class()(**options))


def test_a_malformed_endpoint_is_a_usage_error() -> None:
    params = RendezvousParameters(
        backend="etcd-v2", endpoint="http://etcd:2379", run_id="job"
    )

    with pytest.raises(UsageError, match=r"HOST\[:PORT\] or unix:PATH, not 'http:"):
        build(params)


@pytest.mark.etcd
@pytest.mark.asyncio
async def test_three_nodes_run_a_job(etcd_port: int, prefix: str) -> None:
    nodes = [
        build(
            attrs.evolve(
                parameters(f"n{number}", nnodes=(3, 3)),
                backend="etcd-v2",
                endpoint=f"127.0.0.1:{etcd_port}",
                run_id="a job/of three",
            ),
            prefix=prefix,
            last_call_timeout=0.0,
        )
        for number in range(3)
    ]
    try:
        places = await join_all(nodes)
        for node in nodes:
            await node.report(NodeState.DONE)
        ends = [await next_change(node) for node in nodes]
    finally:
        await asyncio.gather(*(node.aclose() for node in nodes))

    assert sorted(place.group_rank for place in places) == [0, 1, 2]
    assert {place.generation for place in places} == {1}
    assert [end.outcome and end.outcome.state for end in ends] == [
        OutcomeState.SUCCEEDED
    ] * 3
