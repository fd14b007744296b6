"""What agents and workers need beside; see the modules of this package."""

from elaunch.blocking.handler import get_socket_with_port
from elaunch.elastic.utils.api import get_env_variable_or_raise, macros


__all__ = ["get_env_variable_or_raise", "get_socket_with_port", "macros"]
