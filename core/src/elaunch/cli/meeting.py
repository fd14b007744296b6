"""The flags of where nodes meet."""

import argparse


def add_flags(group: argparse._ActionsContainer) -> None:
    """Add them to a group of the parser."""
    group.add_argument(
        "--standalone",
        action="store_true",
        help="this node alone, with a store and an id of its own",
    )
    group.add_argument(
        "--rdzv-backend",
        metavar="NAME",
        default=None,
        help="rendezvous backend (default: c10d; with --master-addr or --master-port "
        "static)",
    )
    group.add_argument(
        "--rdzv-endpoint",
        metavar="HOST[:PORT]",
        default="",
        help="where the backend's store is; the same on every node",
    )
    group.add_argument(
        "--master-addr",
        metavar="HOST",
        default=None,
        help="where the node of rank 0 of a fixed set of nodes hosts the store: "
        "selects the rendezvous static (default: 127.0.0.1)",
    )
    group.add_argument(
        "--master-port",
        metavar="PORT",
        type=int,
        default=None,
        help="port for it, likewise (default: 29500)",
    )
    group.add_argument(
        "--rdzv-id",
        metavar="ID",
        default="",
        help="id of the job; the same on every node (default: none)",
    )
    group.add_argument(
        "--rdzv-conf",
        action="append",
        metavar="K=V,K=V",
        default=[],
        help="options of the backend, for example join_timeout=60; may be given "
        "several times",
    )
    group.add_argument(
        "--node-rank",
        metavar="N",
        type=int,
        default=None,
        help="group rank that this node should get (default: the one that "
        "ELAUNCH_NODE_RANK or the scheduler gives it, else any)",
    )
    group.add_argument(
        "--local-addr",
        metavar="ADDR",
        default=None,
        help="name or address at which other nodes reach this one (default: found "
        "out by the endpoint; -v tells by which rule)",
    )
