"""What this distribution provides; imports nothing heavy."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from elaunch.api import (
    Command,
    CommandParameters,
    CommandProvider,
    NoOptions,
    RendezvousParameters,
    RendezvousProvider,
    StoreRendezvous,
)
from elaunch.hookspecs import hookimpl


if TYPE_CHECKING:
    from elaunch_rdzv_etcd.connect import Api
    from elaunch_rdzv_etcd.options import EtcdOptions, GivenOptions
    from elaunch_rdzv_etcd.target import Target


def _create(params: RendezvousParameters, given: "GivenOptions") -> StoreRendezvous:
    from elaunch_rdzv_etcd.target import Target

    options = given.plain()
    target = Target.parse(params.endpoint, options)
    apis = [_v3(target, params, options), _v2(target, params, options)]
    return _over(apis, params, options)


def _create_v2(params: RendezvousParameters, given: "GivenOptions") -> StoreRendezvous:
    from elaunch_rdzv_etcd.target import Target

    options = given.plain()
    target = Target.parse(params.endpoint, options)
    return _over([_v2(target, params, options)], params, options)


def _over(
    apis: "list[Api]", params: RendezvousParameters, options: "EtcdOptions"
) -> StoreRendezvous:
    from elaunch_rdzv_etcd.connect import open_store

    return StoreRendezvous(
        lambda: open_store(
            params.endpoint, apis, options.connect_timeout, params.record
        ),
        params,
        options,
    )


def _v3(
    target: "Target", params: RendezvousParameters, options: "EtcdOptions"
) -> "Api":
    from elaunch_rdzv_etcd.connect import Api
    from elaunch_rdzv_etcd.v3.keys import Keys
    from elaunch_rdzv_etcd.v3.remains import Job
    from elaunch_rdzv_etcd.v3.store import EtcdV3Store

    keys = Keys(options.prefix)
    job = Job.of(options.prefix, params.run_id, options.job_ttl)
    return Api("v3", lambda: EtcdV3Store(target, options.silence_limit, keys, job))


def _v2(
    target: "Target", params: RendezvousParameters, options: "EtcdOptions"
) -> "Api":
    from elaunch_rdzv_etcd.connect import Api
    from elaunch_rdzv_etcd.v2.paths import Paths
    from elaunch_rdzv_etcd.v2.store import EtcdV2Store

    paths, job = Paths(options.prefix), f"/{params.run_id}/"
    return Api(
        "v2",
        lambda: EtcdV2Store(target, options.silence_limit, paths, job, options.job_ttl),
    )


def _create_command(params: CommandParameters, _options: NoOptions) -> Command:
    from elaunch_rdzv_etcd.local.command import EtcdCommand

    return EtcdCommand(params.prog)


@hookimpl
def elaunch_register_rendezvous() -> Iterable[RendezvousProvider]:
    """Declare the backends."""
    return (
        RendezvousProvider(
            name="etcd",
            summary="nodes meet in an etcd cluster (v3 API; v2 where that is all)",
            create=_create,
            options="elaunch_rdzv_etcd.options:GivenOptions",
        ),
        RendezvousProvider(
            name="etcd-v2",
            summary="nodes meet in an etcd cluster with the v2 API (etcd 2.3 to 3.5)",
            create=_create_v2,
            options="elaunch_rdzv_etcd.options:GivenOptions",
        ),
    )


@hookimpl
def elaunch_register_commands() -> Iterable[CommandProvider]:
    """Declare ``elaunch etcd``."""
    return (
        CommandProvider(
            name="etcd",
            summary="run an etcd server on this host, for jobs that meet in it",
            create=_create_command,
        ),
    )
