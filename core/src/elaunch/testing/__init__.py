"""The plugin author's kit: contract suites to inherit from."""

import pytest


# Before they are imported, so that a contract that fails shows the values it compared.
pytest.register_assert_rewrite(
    "elaunch.testing.command",
    "elaunch.testing.log_layout",
    "elaunch.testing.metric_handler",
    "elaunch.testing.monitor",
    "elaunch.testing.plugin",
    "elaunch.testing.preflight",
    "elaunch.testing.recorder",
    "elaunch.testing.rendezvous",
    "elaunch.testing.rendezvous_decisions",
    "elaunch.testing.rendezvous_meeting",
    "elaunch.testing.rendezvous_members",
    "elaunch.testing.rendezvous_notices",
    "elaunch.testing.restart_policy",
    "elaunch.testing.scheduler",
    "elaunch.testing.spawner",
    "elaunch.testing.spawner_functions",
    "elaunch.testing.spawner_notices",
    "elaunch.testing.spawner_output",
    "elaunch.testing.spawner_stacks",
    "elaunch.testing.spawner_stop",
    "elaunch.testing.store",
    "elaunch.testing.store_leases",
    "elaunch.testing.store_watches",
)

from elaunch.testing.command import CommandContract  # noqa: E402 - see above
from elaunch.testing.lifeline import Lifeline  # noqa: E402 - see above
from elaunch.testing.log_layout import LogLayoutContract  # noqa: E402 - see above
from elaunch.testing.metric_handler import (  # noqa: E402 - see above
    MetricHandlerContract,
)
from elaunch.testing.monitor import MonitorContract  # noqa: E402 - see above
from elaunch.testing.plugin import PluginContract  # noqa: E402 - see above
from elaunch.testing.preflight import PreflightContract  # noqa: E402 - see above
from elaunch.testing.recorder import RecorderContract  # noqa: E402 - see above
from elaunch.testing.rendezvous import RendezvousContract  # noqa: E402 - see above
from elaunch.testing.rendezvous_nodes import (  # noqa: E402 - see above
    NewHandler,
    join_all,
    next_change,
    parameters,
)
from elaunch.testing.restart_policy import (  # noqa: E402 - see above
    RestartPolicyContract,
)
from elaunch.testing.scheduler import SchedulerContract  # noqa: E402 - see above
from elaunch.testing.spawner import SpawnerContract  # noqa: E402 - see above
from elaunch.testing.store import StoreContract  # noqa: E402 - see above
from elaunch.testing.store_clients import NewStore  # noqa: E402 - see above


__all__ = [
    "CommandContract",
    "Lifeline",
    "LogLayoutContract",
    "MetricHandlerContract",
    "MonitorContract",
    "NewHandler",
    "NewStore",
    "PluginContract",
    "PreflightContract",
    "RecorderContract",
    "RendezvousContract",
    "RestartPolicyContract",
    "SchedulerContract",
    "SpawnerContract",
    "StoreContract",
    "join_all",
    "next_change",
    "parameters",
]
