"""Real etcd clusters for tests: quick to elect, easy to hurt.

::

    with EtcdCluster() as cluster:
        cluster.members[cluster.leader()].kill()
"""

import os
from collections.abc import Sequence

from elaunch_rdzv_etcd.local import cluster
from elaunch_rdzv_etcd.local.member import EtcdFailed, EtcdMember
from elaunch_rdzv_etcd.local.site import Tls
from elaunch_rdzv_etcd.server import EtcdServer


__all__ = ["QUICK", "EtcdCluster", "EtcdFailed", "EtcdMember", "EtcdServer", "Tls"]

QUICK = ("--heartbeat-interval", "20", "--election-timeout", "200")
"""Flags for quick elections: another leader is there in half a second.

A lease lasts for one and a half elections at least, and for whole seconds: with these
one may last 1 s, by default it is 2 s.
"""


class EtcdCluster(cluster.EtcdCluster):
    """A cluster of three members that elects quickly.

    Args:
        data_dir: As for `elaunch_rdzv_etcd.local.cluster.EtcdCluster`.
        size: How many members.
        v2: Whether to offer the v2 API, where this etcd has it.
        tls: How clients speak to the members; plain HTTP without it.
        flags: Further flags of etcd.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        size: int = 3,
        v2: bool = True,
        tls: Tls | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        super().__init__(data_dir, size=size, v2=v2, tls=tls, flags=(*QUICK, *flags))
