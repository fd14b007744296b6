"""Where events go."""

from elaunch.torchelastic_events import get_logging_handler


__all__ = ["get_logging_handler"]
