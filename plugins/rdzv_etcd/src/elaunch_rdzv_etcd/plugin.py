"""What this distribution provides; imports nothing heavy.

etcd 3.6 has no v2 API any more, so a backend for the v3 API will stand beside this one.
"""

from collections.abc import Iterable

from elaunch.api import RendezvousParameters, RendezvousProvider, StoreRendezvous
from elaunch.hookspecs import hookimpl
from elaunch_rdzv_etcd.options import EtcdV2Options


def _create_v2(params: RendezvousParameters, options: EtcdV2Options) -> StoreRendezvous:
    from elaunch_rdzv_etcd.connect import open_store
    from elaunch_rdzv_etcd.target import Target

    target = Target.parse(params.endpoint, options)
    return StoreRendezvous(
        lambda: open_store(target, options, params.record), params, options
    )


@hookimpl
def elaunch_register_rendezvous() -> Iterable[RendezvousProvider]:
    """Declare the backends."""
    return (
        RendezvousProvider(
            name="etcd-v2",
            summary="nodes meet in an etcd cluster with the v2 API (etcd 2.3 to 3.5)",
            create=_create_v2,
            options=EtcdV2Options,
        ),
    )
