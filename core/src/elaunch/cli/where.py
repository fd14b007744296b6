"""Where the flags say that nodes meet: they say it in three ways that must agree."""

import argparse

import attrs

from elaunch.errors import UsageError
from elaunch.log_layout import NO_RUN_ID


DEFAULT_BACKEND = "c10d"

MASTER_BACKEND = "static"
"""What ``--master-addr`` and ``--master-port`` are for, as in torchrun."""

MASTER_ADDR, MASTER_PORT = "127.0.0.1", 29500


@attrs.frozen
class Where:
    """Where nodes meet.

    Attributes:
        backend: Name of the rendezvous backend.
        endpoint: Where its store is; may be empty.
        run_id: Id of the job; may be empty.
    """

    backend: str
    endpoint: str
    run_id: str


def where_to_meet(args: argparse.Namespace) -> Where:
    """Return where nodes meet.

    Raises:
        UsageError: If two flags contradict each other.
    """
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
    if not master:
        backend = args.rdzv_backend or DEFAULT_BACKEND
        return Where(backend, args.rdzv_endpoint, args.rdzv_id)
    if args.rdzv_backend not in (None, MASTER_BACKEND):
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


def _master_endpoint(address: str | None, port: int | None) -> str:
    host = MASTER_ADDR if address is None else address.strip()
    if not host or host.count(":") == 1:
        raise UsageError(
            f"--master-addr is the name or address of the node of rank 0, without a "
            f"port, not {address!r}; give the port with --master-port"
        )
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{host}:{MASTER_PORT if port is None else port}"
