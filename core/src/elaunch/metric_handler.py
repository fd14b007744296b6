"""The metric handler port: what plugins that take metrics to some place are told."""

import attrs

from elaunch.metrics import MetricHandler
from elaunch.provider import Provider


@attrs.frozen
class MetricHandlerParameters:
    """What every metric handler is built with.

    Attributes:
        run_id: Id of the job; empty outside of one.
    """

    run_id: str


MetricHandlerProvider = Provider[MetricHandlerParameters, MetricHandler]
