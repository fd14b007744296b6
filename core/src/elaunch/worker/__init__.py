"""What runs inside a worker: standard library only, and nothing else of elaunch."""

from elaunch.worker.error_file import record


__all__ = ["record"]
