"""The hooks of elaunch: nothing but specifications, and the marker to implement them.

A hook is called once per process, at start-up, to ask a plugin what it provides; never
again, and never in a worker. It must be quick and import nothing heavy.
"""

from collections.abc import Iterable

import pluggy

from elaunch.api import (
    BootstrapProvider,
    CommandProvider,
    EventRecorderProvider,
    LogLayoutProvider,
    MetricHandlerProvider,
    MonitorProvider,
    PreflightProvider,
    RendezvousProvider,
    RestartPolicyProvider,
    SchedulerProvider,
    SpawnerProvider,
)


ENTRY_POINT_GROUP = "elaunch"
"""Entry-point group of plugins; its name is the plugin's, its value a module."""

hookspec = pluggy.HookspecMarker("elaunch")
hookimpl = pluggy.HookimplMarker("elaunch")
"""Marks a plugin's function as the implementation of the hook of the same name."""


@hookspec
def elaunch_register_rendezvous() -> Iterable[RendezvousProvider]:
    """Declare the rendezvous backends this plugin provides.

    Returns:
        Providers whose ``create`` builds a `RendezvousHandler`. A backend that is a
        `Store` builds a `StoreRendezvous` around it.

    When:
        Once per process, at start-up; never in a worker.

    If it fails:
        The plugin is listed as failed; fatal only if one of its backends was asked for.
    """
    return ()


@hookspec
def elaunch_register_spawners() -> Iterable[SpawnerProvider]:
    """Declare the spawners this plugin provides.

    Returns:
        Providers whose ``create`` builds a `Spawner`.

    When:
        Once per process, at start-up; never in a worker.

    If it fails:
        The plugin is listed as failed; fatal only if one of its backends was asked for.
    """
    return ()


@hookspec
def elaunch_register_monitors() -> Iterable[MonitorProvider]:
    """Declare the monitors this plugin provides.

    Returns:
        Providers whose ``create`` builds a `Monitor`.

    When:
        Once per process, at start-up; never in a worker.

    If it fails:
        The plugin is listed as failed; fatal only if one of its backends was asked for.
    """
    return ()


@hookspec
def elaunch_register_event_recorders() -> Iterable[EventRecorderProvider]:
    """Declare the event recorders this plugin provides.

    Returns:
        Providers whose ``create`` builds an `EventRecorder`.

    When:
        Once per process, at start-up; never in a worker.

    If it fails:
        The plugin is listed as failed; fatal only if one of its backends was asked for.
    """
    return ()


@hookspec
def elaunch_register_bootstraps() -> Iterable[BootstrapProvider]:
    """Declare the worker bootstraps this plugin provides.

    Returns:
        Providers whose ``create`` builds a `Bootstrap`.

    When:
        Once per process, at start-up; never in a worker.

    If it fails:
        The plugin is listed as failed; fatal only if one of its backends was asked for.
    """
    return ()


@hookspec
def elaunch_register_restart_policies() -> Iterable[RestartPolicyProvider]:
    """Declare the restart policies this plugin provides.

    Returns:
        Providers whose ``create`` builds a `RestartPolicy`.

    When:
        Once per process, at start-up; never in a worker.

    If it fails:
        The plugin is listed as failed; fatal only if one of its backends was asked for.
    """
    return ()


@hookspec
def elaunch_register_commands() -> Iterable[CommandProvider]:
    """Declare the subcommands of ``elaunch`` this plugin adds.

    Returns:
        Providers whose ``create`` builds a `Command`. A subcommand of the core can't
        be replaced.

    When:
        Once per process, at start-up; never in a worker.

    If it fails:
        The plugin is listed as failed; fatal only if one of its backends was asked for.
    """
    return ()


@hookspec
def elaunch_register_log_layouts() -> Iterable[LogLayoutProvider]:
    """Declare the log layouts this plugin provides.

    Returns:
        Providers whose ``create`` builds a `LogLayout`.

    When:
        Once per process, at start-up; never in a worker.

    If it fails:
        The plugin is listed as failed; fatal only if one of its backends was asked for.
    """
    return ()


@hookspec
def elaunch_register_metric_handlers() -> Iterable[MetricHandlerProvider]:
    """Declare the metric handlers this plugin provides.

    Returns:
        Providers whose ``create`` builds a `MetricHandler`.

    When:
        Once per process, at start-up; never in a worker.

    If it fails:
        The plugin is listed as failed; fatal only if one of its backends was asked for.
    """
    return ()


@hookspec
def elaunch_register_schedulers() -> Iterable[SchedulerProvider]:
    """Declare the schedulers this plugin knows.

    Returns:
        Providers whose ``create`` builds a `Scheduler`, each with markers: variables of
        which one is set where the scheduler started this process.

    When:
        Once per process, at start-up; never in a worker.

    If it fails:
        The plugin is listed as failed; flags that were left out stay open.
    """
    return ()


@hookspec
def elaunch_register_preflights() -> Iterable[PreflightProvider]:
    """Declare the checks of a node this plugin provides.

    Returns:
        Providers whose ``create`` builds a `Preflight`, with options that inherit
        `PreflightOptions`.

    When:
        Once per process, at start-up; never in a worker.

    If it fails:
        The plugin is listed as failed; fatal only if one of its backends was asked for.
    """
    return ()
