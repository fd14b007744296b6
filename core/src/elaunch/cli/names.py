"""Names that flags stand for."""

DEFAULT_BACKEND = "c10d"

MASTER_BACKEND = "static"
"""What ``--master-addr`` and ``--master-port`` are for, as in torchrun."""

PROJECT = "pyproject.toml"
"""Where settings are looked for if no file is named: in its table ``tool.elaunch``."""
