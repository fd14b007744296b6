"""The launcher: the only place where names become objects.

`api` is what programs call, `settled` fills in what a configuration left open, `ports`
builds each port, `launch` runs one agent with them, and `loop` finds it a place to run.
"""

from elaunch.config import LaunchConfig
from elaunch.launcher.api import elastic_launch, launch_agent
from elaunch.launcher.ports import get_rdzv_handler


__all__ = ["LaunchConfig", "elastic_launch", "get_rdzv_handler", "launch_agent"]
