"""Variables of the environment, and the macro for the local rank."""

import os
from collections.abc import Iterable
from typing import Any

from elaunch.blocking.handler import get_socket_with_port
from elaunch.errors import UsageError
from elaunch.templates import render


__all__ = ["get_env_variable_or_raise", "get_socket_with_port", "macros"]


def get_env_variable_or_raise(env_name: str) -> str:
    """Return the value of an environment variable.

    Raises:
        UsageError: If it is not set.
    """
    if env_name not in os.environ:
        raise UsageError(f"the environment variable {env_name!r} is not set")
    return os.environ[env_name]


class macros:  # noqa: N801 - the name that users of torchelastic know
    """What stands for the local rank in arguments of workers."""

    local_rank = "${local_rank}"

    @staticmethod
    def substitute(args: Iterable[Any], local_rank: str) -> list[Any]:
        """Return arguments with the macro replaced in those that are text."""
        names = {"local_rank": local_rank}
        return [render(arg, names) if isinstance(arg, str) else arg for arg in args]
