"""Backends that exist but may not be installed, and where they come from."""

from collections.abc import Mapping


KNOWN: Mapping[tuple[str, str], str] = {
    ("rendezvous", "c10d"): "elaunch-rdzv-c10d",
    ("rendezvous", "static"): "elaunch-rdzv-c10d",
    ("rendezvous", "etcd"): "elaunch-rdzv-etcd",
    ("rendezvous", "etcd-v2"): "elaunch-rdzv-etcd",
    ("command", "etcd"): "elaunch-rdzv-etcd",
    ("bootstrap", "c10d"): "elaunch-rdzv-c10d",
    ("spawner", "local"): "elaunch-spawn-local",
    ("monitor", "process"): "elaunch-spawn-local",
    ("log layout", "default"): "elaunch-spawn-local",
    ("log layout", "logs-specs"): "elaunch-spawn-local",
    ("event recorder", "console"): "elaunch-events-log",
    ("event recorder", "jsonl"): "elaunch-events-log",
    ("event recorder", "null"): "elaunch-events-log",
}
"""(kind, name) -> distribution; the source of the ``pip install`` line in errors."""
