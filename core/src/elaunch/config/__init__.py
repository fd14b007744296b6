"""The configuration of a launch: its fields, and the rules that they obey."""

from elaunch.config.launch_config import NO_EVENT_LOG, LaunchConfig


__all__ = ["NO_EVENT_LOG", "LaunchConfig"]
