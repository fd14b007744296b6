"""What this distribution provides. Imports nothing that takes time."""

from collections.abc import Iterable
from functools import partial

from elaunch.api import (
    Bootstrap,
    BootstrapParameters,
    BootstrapProvider,
    Provider,
    RendezvousHandler,
    RendezvousParameters,
    RendezvousProvider,
    StoreRendezvous,
    UsageError,
)
from elaunch.hookspecs import hookimpl
from elaunch_rdzv_c10d.options import BootstrapOptions, C10dOptions, StaticOptions


def _rendezvous(
    params: RendezvousParameters, options: C10dOptions
) -> RendezvousHandler:
    if options.store_type == "file":
        return _in_directory(params, options)
    from elaunch_rdzv_c10d.hosting import StoreOpener
    from elaunch_rdzv_c10d.security import load_security

    opener = StoreOpener(params, options, security=load_security(options))
    return StoreRendezvous(opener, params, options)


def _in_directory(
    params: RendezvousParameters, options: C10dOptions
) -> RendezvousHandler:
    """Meet in a directory, as torchelastic's backend of this name can, too."""
    from elaunch.api import FileStore

    if "/" not in params.endpoint:
        raise UsageError(
            f"store_type=file meets in a directory, written with a '/', for example "
            f"--rdzv-endpoint ./meet, not {params.endpoint!r}"
        )
    return StoreRendezvous(partial(FileStore.connect, params.endpoint), params, options)


def _static(params: RendezvousParameters, options: StaticOptions) -> RendezvousHandler:
    from elaunch_rdzv_c10d.static import static_rendezvous

    return static_rendezvous(params, options)


def _bootstrap(params: BootstrapParameters, options: BootstrapOptions) -> Bootstrap:
    from elaunch_rdzv_c10d.bootstrap import C10dBootstrap

    return C10dBootstrap(params, options)


@hookimpl
def elaunch_register_rendezvous() -> Iterable[RendezvousProvider]:
    """Declare the rendezvous in a store that one of the agents hosts."""
    elastic = "rendezvous in a store hosted by one agent"
    fixed = "a fixed set of nodes with given ranks, in a store hosted by rank 0"
    return (
        Provider("c10d", elastic, _rendezvous, C10dOptions),
        Provider("static", fixed, _static, StaticOptions),
    )


@hookimpl
def elaunch_register_bootstraps() -> Iterable[BootstrapProvider]:
    """Declare the workers' TCPStore, a new one for each generation."""
    summary = "a fresh TCPStore for the workers of each generation"
    return (Provider("c10d", summary, _bootstrap, BootstrapOptions),)
