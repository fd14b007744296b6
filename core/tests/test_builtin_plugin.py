"""The core's own plugin keeps the contract of plugins."""

from elaunch.testing import PluginContract


class TestPlugin(PluginContract):
    entry_point = "builtin"
    backends = frozenset(
        {
            *(("rendezvous", "file"), ("bootstrap", "port"), ("bootstrap", "none")),
            *(("bootstrap", "jax"), ("restart policy", "default")),
            *(("monitor", "timer"), ("monitor", "heartbeat"), ("monitor", "sections")),
            *(("monitor", "straggler"), ("monitor", "deadline")),
            ("monitor", "output"),
            ("metric handler", "null"),
            *(("metric handler", "console"), ("scheduler", "mpi")),
            *(("scheduler", "slurm"), ("scheduler", "pbs")),
            *(("scheduler", "kubernetes"), ("preflight", "disk")),
            *(("preflight", "memory"), ("preflight", "clock")),
            *(("preflight", "endpoint"), ("preflight", "command")),
        }
    )
    heavy_modules = (
        *("elaunch.file_store", "elaunch.watchdog", "elaunch.timer"),
        *("elaunch.monitors.waiting", "elaunch.monitors.output"),
        *("elaunch.preflights.disk", "elaunch.preflights.command", "psutil"),
    )
