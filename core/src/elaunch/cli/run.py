"""``elaunch run``: from flags to a launch."""

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from elaunch.cli import backends, binding, early, signals, start
from elaunch.cli.console import Console, Voice
from elaunch.cli.found import Origin
from elaunch.cli.garbage import Collecting
from elaunch.cli.names import PROJECT
from elaunch.cli.output import fields_of
from elaunch.cli.scheduled import scheduled
from elaunch.cli.settings import Resolved
from elaunch.cli.size import parse_nnodes, workers_of_node
from elaunch.cli.strangers import mistyped
from elaunch.cli.where import where_to_meet
from elaunch.config import LaunchConfig
from elaunch.errors import PluginError, UsageError
from elaunch.launcher import launch_agent
from elaunch.options import parse_pairs
from elaunch.plugins import load_plugins
from elaunch.workers import CommandEntry, ScriptEntry


logger = logging.getLogger(__name__)

_LOGGING = {
    Voice.VERBOSE: (logging.INFO, "elaunch: %(name)s: %(message)s"),
    Voice.NORMAL: (logging.WARNING, "elaunch: %(message)s"),
    Voice.QUIET: (logging.ERROR, "elaunch: %(message)s"),
}
"""What of the log is shown, and how."""


def run(resolved: Resolved, *, only_explain: bool = False) -> int:
    """Run this node's agent and return the exit status of a success.

    Args:
        resolved: The settings as users gave them.
        only_explain: Whether to tell what would run, and start nothing.

    Raises:
        ElaunchError: If the job did not succeed.
    """
    args = resolved.args
    voice = Voice.of(verbose=args.verbose, quiet=args.quiet)
    level, shape = _LOGGING[voice]
    if voice is Voice.NORMAL:
        level = _level_named(os.environ.get("LOGLEVEL", ""), level)
    logging.basicConfig(level=level, format=shape)
    plugins = load_plugins(backends.names(args.block_plugins))
    resolved = scheduled(resolved, plugins, os.environ)
    strange = mistyped(os.environ, resolved.origins)
    resolved = attrs.evolve(resolved, notes=(*strange, *resolved.notes))
    try:
        return _run(resolved, voice, only_explain=only_explain or args.dry_run)
    except (UsageError, PluginError) as error:
        from elaunch.cli.blame import sources_of

        for source in sources_of(str(error), resolved):
            error.add_note(f"{source} says so")
        raise


def _run(resolved: Resolved, voice: Voice, *, only_explain: bool) -> int:
    args = resolved.args
    if only_explain:
        from elaunch.cli.explain import explain

        return explain(resolved)
    for note in resolved.notes:
        logger.warning("%s", note)
    console = Console(voice, sys.stderr)
    _tell_sources(resolved)
    config = config_of(resolved)
    early.settle(config.agent_signals)
    if _is_legacy(args):
        logger.warning("this way to launch is deprecated; use 'elaunch run'")
    _warn_of_silence(config)
    launch_agent(config, entry_of(args, os.environ), recorders=(console, Collecting()))
    return 0


def _level_named(name: str, default: int) -> int:
    """Return the level of torchrun's variable, unless it is somebody else's word."""
    return logging.getLevelNamesMapping().get(name.strip().upper(), default)


def config_of(resolved: Resolved) -> LaunchConfig:
    """Return the configuration that the settings describe.

    Raises:
        UsageError: If a flag is malformed or two contradict each other.
    """
    args, nnodes = resolved.args, resolved.place_of("nnodes")
    min_nodes, max_nodes = parse_nnodes(args.nnodes, nnodes)
    if args.standalone and max_nodes > 1:
        raise UsageError(
            f"--standalone means this node alone, with a store of its own; leave out "
            f"--standalone, or {nnodes}"
        )
    where = where_to_meet(resolved, max_nodes)
    for remark in where.remarks:
        logger.warning("%s", remark)
    return LaunchConfig(
        min_nodes=min_nodes,
        max_nodes=max_nodes,
        nproc_per_node=workers_of_node(
            args.nproc_per_node, os.environ, resolved.place_of("nproc_per_node")
        ),
        run_id=where.run_id,
        role=args.role,
        rdzv_backend=where.backend,
        rdzv_endpoint=where.endpoint,
        rdzv_configs=_all_pairs(args.rdzv_conf, "--rdzv-conf"),
        max_restarts=args.max_restarts,
        local_addr=args.local_addr,
        node_rank=_node_rank(resolved),
        shutdown_timeout=args.shutdown_timeout,
        failure_file=args.failure_file,
        dump_stacks=args.dump_stacks,
        health_check=args.health_check,
        control=args.control,
        **start.settings_of(args),
        **signals.settings_of(args),
        exit_barrier_timeout=args.exit_barrier_timeout,
        restart_policy=args.restart_policy,
        on_failure=tuple(args.on_failure),
        **fields_of(args),
        **backends.settings_of(args),
        **binding.settings_of(args),
    )


def _all_pairs(texts: Sequence[str], flag: str) -> dict[str, str]:
    """Read a flag that may be given several times; the last word on a key counts."""
    return {k: v for text in texts for k, v in parse_pairs(text, flag).items()}


def _node_rank(resolved: Resolved) -> int | None:
    """Return the rank that a flag or a file gives; `elaunch.slots` hears the others."""
    if resolved.origins["node_rank"] in (Origin.VARIABLE, Origin.SCHEDULER):
        return None
    rank: int | None = resolved.args.node_rank
    return rank


def _tell_sources(resolved: Resolved) -> None:
    """Tell what was not typed. No values: they may be secrets."""
    elsewhere = [
        f"{name} ({source})"
        for name, source in resolved.sources.items()
        if Origin.FLAG < resolved.origins[name] < Origin.DEFAULT
    ]
    if elsewhere:
        logger.info("settings from elsewhere: %s", ", ".join(elsewhere))
    unasked = [name for name, s in resolved.sources.items() if s == PROJECT]
    if unasked and resolved.args.config is None:
        logger.warning(
            "the table 'tool.elaunch' of %s gives %s", PROJECT, ", ".join(unasked)
        )


def _warn_of_silence(config: LaunchConfig) -> None:
    workers, ranks = config.nproc_per_node, config.output_settings.local_ranks_filter
    if ranks and not any(rank in ranks for rank in range(workers)):
        logger.warning(
            "--local-ranks-filter shows none of the %d workers of this node", workers
        )


def entry_of(
    args: argparse.Namespace, environment: Mapping[str, str]
) -> CommandEntry | ScriptEntry:
    """Return what the workers run.

    Args:
        args: The settings.
        environment: May name the interpreter of scripts, as for torchrun.

    Raises:
        UsageError: If the script does not exist, or nothing can be preloaded for it.
    """
    script, rest = args.script, tuple(args.args)
    python = environment.get("PYTHON_EXEC", "")
    if _is_legacy(args) and not args.use_env:
        if args.no_python:
            raise UsageError(
                "--no-python needs --use-env: a program is not given its local rank"
            )
        rest = ("--local-rank={local_rank}", *rest)
    if args.no_python:
        return CommandEntry((script, *rest), name=script)
    if not args.module and not (script and Path(script).exists()):
        raise UsageError(
            f"script {script!r} does not exist in {str(Path.cwd())!r}; "
            f"use -m for a module, --no-python for a program"
        )
    if python and not args.run_path:
        if args.preload:
            raise UsageError(
                f"PYTHON_EXEC has {python!r} run the script, and --preload imports "
                f"modules for workers of {sys.executable!r}; unset it, or leave out "
                f"--preload"
            )
        target = ("-m", script) if args.module else (script,)
        return CommandEntry((python, "-u", *target, *rest), name=script)
    return ScriptEntry(
        script,
        rest,
        name=script,
        module=args.module,
        run_path=args.run_path,
    )


def _is_legacy(args: argparse.Namespace) -> bool:
    """Whether this is the front end that has ``--use-env``."""
    return hasattr(args, "use_env")
