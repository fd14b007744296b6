"""Metric handlers by name, and the agent's metrics as one recorder."""

from collections.abc import Mapping

from elaunch.config import LaunchConfig
from elaunch.errors import UsageError
from elaunch.events import EventRecorder
from elaunch.metric_handler import MetricHandlerParameters
from elaunch.metrics import (
    GROUP,
    MetricHandler,
    MetricsConfig,
    NullMetricHandler,
    configure,
    getStream,
)
from elaunch.plugins import Plugins, load_plugins
from elaunch.text import quoted, suggestion


def initialize_metrics(
    cfg: MetricsConfig | None = None, *, plugins: Plugins | None = None
) -> None:
    """Let the handler that a configuration names take all metrics of this process.

    Without one, or if it names none, everything stays as it is.

    Args:
        cfg: The configuration.
        plugins: Where names are looked up; by default everything that is installed.

    Raises:
        UsageError: If a key of it is unknown.
        PluginError: If the handler is unknown or can't be used.
    """
    handler = _named(cfg.params if cfg else {}, "", plugins)
    if handler:
        configure(handler)


def measuring(config: LaunchConfig, plugins: Plugins) -> list[EventRecorder]:
    """Return what makes metrics of an agent's events: nothing if nobody takes them.

    Raises:
        UsageError: If a key of ``metrics_cfg`` is unknown.
        PluginError: If the handler is unknown or can't be used.
    """
    named = _named(config.metrics_cfg, config.run_id, plugins)
    handler = named or getStream(GROUP).handler
    if isinstance(handler, NullMetricHandler):
        return []
    from elaunch.agent.measuring import Measuring  # most agents measure nothing

    return [
        Measuring(handler=handler, role=config.role, max_restarts=config.max_restarts)
    ]


def _named(
    params: Mapping[str, str], run_id: str, plugins: Plugins | None
) -> MetricHandler | None:
    for key in params.keys() - {"handler"}:
        raise UsageError(
            f"metrics_cfg: there is no setting {key!r}{suggestion(key, ['handler'])} "
            f"(settings: {quoted(['handler'])})"
        )
    if not params.get("handler"):
        return None
    found = plugins or load_plugins()
    parameters = MetricHandlerParameters(run_id)
    return found.metric_handlers.build(params["handler"], "--metrics", parameters)
