"""Names of backends that flags stand for."""

DEFAULT_BACKEND = "c10d"

MASTER_BACKEND = "static"
"""What ``--master-addr`` and ``--master-port`` are for, as in torchrun."""
