"""The level of loggers that nothing turns up."""

__all__ = ["get_log_level"]


def get_log_level() -> str:
    """Return the level of `elaunch.elastic.utils.logging` without ``LOGLEVEL``."""
    return "WARNING"
