"""Where the settings say that nodes meet: they say it in three ways that must agree."""

import attrs

from elaunch.cli.found import Origin
from elaunch.cli.names import DEFAULT_BACKEND, MASTER_BACKEND
from elaunch.cli.settings import Resolved
from elaunch.errors import UsageError
from elaunch.log_layout import NO_RUN_ID


MASTER_ADDR, MASTER_PORT = "127.0.0.1", 29500

LAST_PORT = 65535

_HOSTED = (DEFAULT_BACKEND, MASTER_BACKEND)
"""Backends whose store ends with the job: no other finds anything there."""


@attrs.frozen
class Where:
    """Where nodes meet.

    Attributes:
        backend: Name of the rendezvous backend.
        endpoint: Where its store is; may be empty.
        run_id: Id of the job; may be empty.
        remarks: What a user should be told of it.
    """

    backend: str
    endpoint: str
    run_id: str
    remarks: tuple[str, ...] = ()


def where_to_meet(resolved: Resolved, max_nodes: int) -> Where:
    """Return where nodes meet.

    Args:
        resolved: The settings.
        max_nodes: Most nodes of the job.

    Raises:
        UsageError: If two flags contradict each other.
    """
    args = resolved.args
    given = (("--master-addr", args.master_addr), ("--master-port", args.master_port))
    master = " and ".join(flag for flag, value in given if value is not None)
    if args.standalone:
        unwanted = master
        if args.rdzv_endpoint:
            unwanted = unwanted or "--rdzv-endpoint"
        if args.rdzv_backend not in (None, DEFAULT_BACKEND):
            unwanted = unwanted or "--rdzv-backend"
        if unwanted:
            raise UsageError(
                f"--standalone means this node alone, with a store of its own; leave "
                f"out --standalone, or {unwanted}"
            )
        return Where(DEFAULT_BACKEND, "", args.rdzv_id)
    place = _at_master(resolved, master) if master else _at_endpoint(resolved)
    if max_nodes > 1 and not place.endpoint and _is_numbered(resolved):
        place = _torchruns_default(place)
    if max_nodes > 1 and not place.run_id:
        place = _without_id(place)
    return place


def _at_endpoint(resolved: Resolved) -> Where:
    args = resolved.args
    backend = args.rdzv_backend or DEFAULT_BACKEND
    return Where(backend, args.rdzv_endpoint, args.rdzv_id)


def _at_master(resolved: Resolved, master: str) -> Where:
    args = resolved.args
    if args.rdzv_backend not in (None, MASTER_BACKEND):
        if args.rdzv_endpoint:
            have = "have" if None not in {args.master_addr, args.master_port} else "has"
            remark = (
                f"{master} {have} no effect, since nodes meet by the rendezvous "
                f"{args.rdzv_backend!r} at --rdzv-endpoint {args.rdzv_endpoint}"
            )
            return attrs.evolve(_at_endpoint(resolved), remarks=(remark,))
        raise UsageError(
            f"{master}: that is for the rendezvous {MASTER_BACKEND!r}, not for "
            f"--rdzv-backend {args.rdzv_backend}; leave out --rdzv-backend, or give "
            f"--rdzv-endpoint instead"
        )
    endpoint = _master_endpoint(args.master_addr, args.master_port)
    if args.rdzv_endpoint not in ("", endpoint):
        raise UsageError(
            f"{master} and --rdzv-endpoint contradict each other: {endpoint!r} and "
            f"{args.rdzv_endpoint!r}; leave out one of them"
        )
    return Where(MASTER_BACKEND, endpoint, args.rdzv_id or NO_RUN_ID)


def _is_numbered(resolved: Resolved) -> bool:
    """Whether a user gave this node a rank, and no backend but torchrun's default."""
    return (
        resolved.args.node_rank is not None
        and resolved.origins["node_rank"] < Origin.SCHEDULER
        and resolved.args.rdzv_backend in (None, MASTER_BACKEND)
    )


def _torchruns_default(place: Where) -> Where:
    endpoint = _master_endpoint(None, None)
    remark = (
        f"nodes meet at {endpoint}, where only those of this host can, since nobody "
        f"said where; give all of them the same --master-addr"
    )
    return Where(MASTER_BACKEND, endpoint, place.run_id or NO_RUN_ID, (remark,))


def _without_id(place: Where) -> Where:
    remarks = place.remarks
    if place.backend not in _HOSTED:
        remark = (
            f"the job has no id, and the store of the rendezvous {place.backend!r} "
            f"outlives it: a job that comes later meets what is left of this one; give "
            f"all nodes the same --rdzv-id"
        )
        remarks = (*remarks, remark)
    return attrs.evolve(place, run_id=NO_RUN_ID, remarks=remarks)


def _master_endpoint(address: str | None, port: int | None) -> str:
    host = MASTER_ADDR if address is None else address.strip()
    if not host or host.count(":") == 1:
        raise UsageError(
            f"--master-addr is the name or address of the node of rank 0, without a "
            f"port, not {address!r}; give the port with --master-port"
        )
    if port is not None and not 0 <= port <= LAST_PORT:
        raise UsageError(f"--master-port is a port up to {LAST_PORT}, not {port}")
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{host}:{MASTER_PORT if port is None else port}"
