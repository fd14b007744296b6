"""An etcd server for as long as a program runs; needs ``elaunch-rdzv-etcd``."""

from typing import TYPE_CHECKING, Any

from elaunch.blocking.handler import get_socket_with_port
from elaunch.elastic.plugin_names import from_plugin


if TYPE_CHECKING:
    EtcdServer: Any

__all__ = ["EtcdServer", "find_free_port"]

find_free_port = get_socket_with_port


def __getattr__(name: str) -> Any:
    if name == "EtcdServer":
        return from_plugin("elaunch_rdzv_etcd.torchelastic", name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
