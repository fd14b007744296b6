"""What the members of a group do together over a store that blocks.

The store is torch's, or `elaunch_rdzv_c10d.Store`, or has their methods. Members that
use torchelastic's functions of these names meet those that use ours.
"""

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any


ARRIVED = "/num_members"
COMPLETE = "/last_member"
TRACE = "/TRACE"

_NAMED = 16
"""Most members that a message names."""

_VALUE = b"1"


@contextlib.contextmanager
def store_timeout(store: Any, timeout: float) -> Iterator[None]:
    """Let every operation of a store take so many seconds, in a ``with`` block.

    Args:
        store: The store.
        timeout: Seconds.
    """
    before = store.timeout
    _set_timeout(store, dt.timedelta(seconds=timeout))
    try:
        yield
    finally:
        _set_timeout(store, before)


def _set_timeout(store: Any, timeout: Any) -> None:
    if hasattr(store, "set_timeout"):
        store.set_timeout(timeout)
    elif isinstance(timeout, dt.timedelta):
        store.timeout = timeout.total_seconds()
    else:
        store.timeout = timeout


def get_all(store: Any, rank: int, prefix: str, world_size: int) -> list[bytes]:
    """Return what each member has set under ``prefix`` and its rank.

    Rank 0, which may host the store, waits until all have read.

    Args:
        store: The store.
        rank: Rank of this member.
        prefix: What the keys begin with; each is good for one time.
        world_size: Members.
    """
    values = store.multi_get([f"{prefix}{member}" for member in range(world_size)])
    complete = _arrive(store, world_size, f"{prefix}/finished")
    if rank == 0:
        store.wait([complete])
    return [bytes(value) for value in values]


def synchronize(  # noqa: PLR0913, PLR0917 - the signature that torchelastic's users know
    store: Any,
    data: bytes,
    rank: int,
    world_size: int,
    key_prefix: str,
    timeout: float = 300,
) -> list[bytes]:
    """Give each member what all members give; return it in the order of ranks.

    Args:
        store: The store.
        data: What this member gives.
        rank: Rank of this member.
        world_size: Members.
        key_prefix: What the keys begin with; each is good for one time.
        timeout: Seconds that each operation may take.
    """
    with store_timeout(store, timeout):
        store.set(f"{key_prefix}{rank}", data)
        return get_all(store, rank, key_prefix, world_size)


def barrier(  # noqa: PLR0913, PLR0917 - the signature that torchelastic's users know
    store: Any,
    world_size: int,
    key_prefix: str,
    barrier_timeout: float = 300,
    rank: int | None = None,
    rank_tracing_decoder: Callable[[int], str] | None = None,
    trace_timeout: float = 10,
) -> None:
    """Wait until so many members have come; three operations each.

    Args:
        store: The store.
        world_size: Members.
        key_prefix: What the keys begin with; each is good for one time.
        barrier_timeout: Seconds to wait.
        rank: Rank of this member. Where all give theirs, a message names who is
            missing.
        rank_tracing_decoder: What a message calls a member of a rank.
        trace_timeout: Seconds that each look for who is missing may take.

    Raises:
        ValueError: If names are given, but no rank.
        TimeoutError: If not all have come. Whoever has come is counted all the same.
    """
    if rank is None and rank_tracing_decoder:
        raise ValueError("barrier names who is missing by rank; give rank, too")
    with store_timeout(store, barrier_timeout):
        if rank is not None:
            store.set(f"{key_prefix}{rank}{TRACE}", _VALUE)
        complete = _arrive(store, world_size, key_prefix)
        try:
            store.wait([complete])
        except Exception as error:
            if not is_timeout(error):
                raise
            late = error
        else:
            return
    with store_timeout(store, trace_timeout):
        if store.check([complete]):  # the last of them came while we gave up
            return
        came = store.add(f"{key_prefix}{ARRIVED}", 0)
        missing = [] if rank is None else _missing(store, world_size, key_prefix)
    name = rank_tracing_decoder or str
    told = ", ".join(name(member) for member in missing)
    raise TimeoutError(
        f"after {barrier_timeout:g} s {came} of {world_size} have come to the barrier "
        f"{key_prefix!r}" + (f"; missing: {told}" if told else "")
    ) from late


def is_timeout(error: BaseException) -> bool:
    """Whether a store says that something did not come in time.

    torch's error for that is known by its name: importing it is not for here.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, TimeoutError | LookupError) or "DistStoreError" in names


def _arrive(store: Any, world_size: int, prefix: str) -> str:
    """Come to a barrier; return the key that is there when all have come."""
    complete = f"{prefix}{COMPLETE}"
    if store.add(f"{prefix}{ARRIVED}", 1) == world_size:
        store.set(complete, _VALUE)
    return complete


def _missing(store: Any, world_size: int, prefix: str) -> list[int]:
    """Return the first ranks that have not come, by looks at halves of the others."""
    found: list[int] = []
    spans = [range(world_size)]
    while spans and len(found) < _NAMED:
        span = spans.pop()
        if store.check([f"{prefix}{rank}{TRACE}" for rank in span]):
            continue
        if len(span) == 1:
            found.append(span[0])
        else:
            middle = len(span) // 2
            spans += [span[middle:], span[:middle]]
    return found
