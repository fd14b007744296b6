"""The configuration of a launch: its fields, and the rules that they obey."""

from elaunch.config.launch_config import LaunchConfig


__all__ = ["LaunchConfig"]
