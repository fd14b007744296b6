"""Names of torchelastic whose home is a plugin, which may not be installed."""

import importlib
from typing import Any


def from_plugin(module: str, name: str) -> Any:
    """Return a plugin's public name.

    Args:
        module: The plugin's module.
        name: The name in it.

    Raises:
        ImportError: If the plugin is not installed; tells how to get it.
    """
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name not in (package, module):
            raise
        distribution = package.replace("_", "-")
        raise ImportError(
            f"{name!r} is in the distribution {distribution!r}, which is not "
            f"installed: pip install {distribution}",
            name=package,
        ) from error
