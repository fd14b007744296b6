"""A server that tells whether an agent is well, see `elaunch.health`."""

from elaunch.health import (
    HealthCheckServer,
    create_healthcheck_server,
)


__all__ = [
    "HealthCheckServer",
    "create_healthcheck_server",
]
