"""Stores and ports; `create_c10d_store` needs ``elaunch-rdzv-c10d``."""

from typing import TYPE_CHECKING, Any

from elaunch.blocking.handler import get_free_port, get_socket_with_port
from elaunch.elastic.plugin_names import from_plugin


if TYPE_CHECKING:
    create_c10d_store: Any

__all__ = ["create_c10d_store", "get_free_port", "get_socket_with_port"]


def __getattr__(name: str) -> Any:
    if name == "create_c10d_store":
        return from_plugin("elaunch_rdzv_c10d.create", name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
