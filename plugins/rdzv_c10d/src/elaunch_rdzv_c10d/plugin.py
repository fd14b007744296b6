"""What this distribution provides. Imports nothing that takes time."""

from collections.abc import Iterable

from elaunch.api import (
    Bootstrap,
    BootstrapParameters,
    BootstrapProvider,
    NoOptions,
    Provider,
    RendezvousHandler,
    RendezvousParameters,
    RendezvousProvider,
    StoreRendezvous,
)
from elaunch.hookspecs import hookimpl
from elaunch_rdzv_c10d.options import C10dOptions


def _rendezvous(
    params: RendezvousParameters, options: C10dOptions
) -> RendezvousHandler:
    from elaunch_rdzv_c10d.hosting import StoreOpener

    return StoreRendezvous(StoreOpener(params, options), params, options)


def _bootstrap(params: BootstrapParameters, _: NoOptions) -> Bootstrap:
    from elaunch_rdzv_c10d.bootstrap import C10dBootstrap

    return C10dBootstrap(params)


@hookimpl
def elaunch_register_rendezvous() -> Iterable[RendezvousProvider]:
    """Declare the rendezvous in a store that one of the agents hosts."""
    summary = "rendezvous in a store hosted by one agent"
    return (Provider("c10d", summary, _rendezvous, C10dOptions),)


@hookimpl
def elaunch_register_bootstraps() -> Iterable[BootstrapProvider]:
    """Declare the workers' TCPStore, a new one for each generation."""
    summary = "a fresh TCPStore for the workers of each generation"
    return (Provider("c10d", summary, _bootstrap),)
