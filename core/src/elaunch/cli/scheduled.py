"""Settings that were left open, filled with what the scheduler says."""

import argparse
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from elaunch.cli.actions import settings_of
from elaunch.cli.found import Origin
from elaunch.cli.parser import run_parser
from elaunch.cli.settings import Resolved
from elaunch.cli.variables import read
from elaunch.errors import UsageError
from elaunch.launcher.detection import detect, fill
from elaunch.plugins import Plugins


if TYPE_CHECKING:
    from elaunch.scheduler import Suggestion


logger = logging.getLogger(__name__)


def scheduled(
    resolved: Resolved, plugins: Plugins, environment: Mapping[str, str]
) -> Resolved:
    """Return the settings, with those that nobody gave filled by the scheduler.

    Args:
        resolved: The settings as users gave them.
        plugins: Who declares schedulers.
        environment: Environment of the agent.

    Raises:
        UsageError: If this can't be one agent of a job, and the user does not say how
            many there are.
    """
    detected = detect(plugins, environment)
    if detected is None:
        return resolved
    filled = fill(detected, _given(resolved))
    values, sources = vars(resolved.args).copy(), dict(resolved.sources)
    origins = dict(resolved.origins)
    actions = settings_of(run_parser("elaunch run"))
    for name, suggestion in filled.values.items():
        source = f"{detected.scheduler}: {suggestion.rule}"
        try:
            values[name] = _value(actions, name, suggestion, source)
        except UsageError as error:
            logger.warning("%s; it is left out", error)
            continue
        sources[name], origins[name] = source, Origin.SCHEDULER
    return Resolved(argparse.Namespace(**values), sources, origins, filled.notes)


def _given(resolved: Resolved) -> dict[str, str]:
    """Return what the user gave, as text."""
    values = vars(resolved.args)
    return {
        name: str(values[name])
        for name, origin in resolved.origins.items()
        # A rank of 0 is given, though it equals False.
        if origin < Origin.SCHEDULER and not _says_nothing(values[name])
    }


def _says_nothing(value: object) -> bool:
    return value is None or value is False or value == ""


def _value(
    actions: Mapping[str, argparse.Action],
    name: str,
    suggestion: "Suggestion",
    source: str,
) -> object:
    if name not in actions:
        raise UsageError(f"{source} is for {name!r}, and there is no such setting")
    return read(actions[name], (suggestion.value,), source)
