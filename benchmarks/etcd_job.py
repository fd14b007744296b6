"""The nodes of one job over etcd in one process, act by act."""

import asyncio
import contextlib
import gc
import itertools
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence

import attrs
import etcd_traffic
from rendezvous_job import FORM, LIMIT, RESTART, Job, Traffic, job_parameters

from elaunch.api import RendezvousParameters, StoreRendezvous
from elaunch_rdzv_etcd.plugin import elaunch_register_rendezvous


LEAVE, JOIN = "leave", "join"

_PROVIDERS = {provider.name: provider for provider in elaunch_register_rendezvous()}
_numbers = itertools.count(1)


def new_run_id() -> str:
    """Return an id that no job on this server has had."""
    return f"benchmark-{next(_numbers)}"


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    """Let the garbage collector rest: an agent is alone in its process."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@attrs.frozen
class Act:
    """What one act cost.

    Attributes:
        seconds: How long it took, in each round.
        requests: Requests of each kind and node, in the last round.
        bytes: Bytes sent and received for each node, in the last round.
    """

    seconds: Sequence[float]
    requests: Counter[str]
    bytes: float

    @property
    def median(self) -> float:
        """Seconds of the round in the middle."""
        return statistics.median(self.seconds)


@attrs.define(eq=False)
class EtcdJob(Job):
    """A job of which one node may be missing."""

    params: RendezvousParameters = attrs.field(kw_only=True)

    @classmethod
    def over(cls, backend: str, endpoint: str, size: int) -> "EtcdJob":
        """Return a job whose nodes have not begun."""
        params = job_parameters(
            size, endpoint, backend=backend, run_id=new_run_id(), spare=1
        )
        job = cls([], [], Traffic(), params=params)
        job.nodes += [job.new_node() for _ in range(size)]
        return job

    def new_node(self) -> StoreRendezvous:
        """Return a node that has not begun."""
        provider = _PROVIDERS[self.params.backend]
        node = provider.create(self.params, provider.options_class()())
        if not isinstance(node, StoreRendezvous):
            raise TypeError(f"not over a store: {node!r}")
        return node

    async def leave(self) -> str:
        """Let one node go and bring the others into the next generation."""
        gone = self.nodes.pop(len(self.nodes) // 2)
        again = asyncio.gather(*(self._again(node) for node in self.nodes))
        await gone.leave("it was measured")
        await again
        await gone.aclose()
        return ""

    async def join(self) -> str:
        """Let one node come and bring it and the others into the next generation."""
        new = self.new_node()
        again = asyncio.gather(*(self._again(node) for node in self.nodes))
        self.nodes.append(new)
        await asyncio.gather(new.join(), again)
        return ""


async def _play(job: EtcdJob, size: int) -> dict[str, Act]:
    async def timed(act: Callable[[], Awaitable[str]]) -> Act:
        before = etcd_traffic.so_far()
        begin = time.perf_counter()
        async with asyncio.timeout(LIMIT):
            await act()
        seconds = time.perf_counter() - begin
        said = etcd_traffic.so_far() - before
        each = Counter({kind: n / size for kind, n in said.requests.items()})
        return Act([seconds], each, said.bytes / size)

    try:
        acts = {FORM: await timed(job.form)}
        for name, act in ((RESTART, job.restart), (LEAVE, job.leave), (JOIN, job.join)):
            await job.run()
            acts[name] = await timed(act)
    finally:
        await job.end()
    return acts


def play(backend: str, endpoint: str, size: int, rounds: int) -> dict[str, Act]:
    """Play the acts of a job of so many nodes, over and over."""
    played = []
    for _ in range(rounds):
        with no_collector(), asyncio.Runner() as runner:
            job = EtcdJob.over(backend, endpoint, size)
            played.append(runner.run(_play(job, size)))
    return {
        name: attrs.evolve(act, seconds=[acts[name].seconds[0] for acts in played])
        for name, act in played[-1].items()
    }
