"""``elaunch run``: from flags to a launch."""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from elaunch.cli import binding, early, notice, start
from elaunch.cli.console import Console, Voice
from elaunch.cli.output import fields_of
from elaunch.cli.where import where_to_meet
from elaunch.config import LaunchConfig
from elaunch.errors import UsageError
from elaunch.launcher import launch_agent
from elaunch.options import parse_pairs
from elaunch.workers import CommandEntry, ScriptEntry


_LOGGING = {
    Voice.VERBOSE: (logging.INFO, "elaunch: %(name)s: %(message)s"),
    Voice.NORMAL: (logging.WARNING, "elaunch: %(message)s"),
    Voice.QUIET: (logging.ERROR, "elaunch: %(message)s"),
}
"""What of the log is shown, and how."""

_NNODES = re.compile(r"(\d+)(?::(\d+))?")


def run(args: argparse.Namespace) -> int:
    """Run this node's agent and return the exit status of a success.

    Raises:
        ElaunchError: If the job did not succeed.
    """
    voice = Voice.of(verbose=args.verbose, quiet=args.quiet)
    level, shape = _LOGGING[voice]
    logging.basicConfig(level=level, format=shape)
    console = Console(voice, sys.stderr)
    config = config_of(args)
    early.settle(config.agent_signals)
    launch_agent(config, entry_of(args), recorders=(console,))
    return 0


def config_of(args: argparse.Namespace) -> LaunchConfig:
    """Return the configuration that the flags describe.

    Raises:
        UsageError: If a flag is malformed or two contradict each other.
    """
    min_nodes, max_nodes = parse_nnodes(args.nnodes)
    if args.standalone and max_nodes > 1:
        raise UsageError(
            "--standalone means this node alone, with a store of its own; "
            "leave out --standalone, or --nnodes"
        )
    where = where_to_meet(args)
    return LaunchConfig(
        min_nodes=min_nodes,
        max_nodes=max_nodes,
        nproc_per_node=args.nproc_per_node,
        run_id=where.run_id,
        role=args.role,
        rdzv_backend=where.backend,
        rdzv_endpoint=where.endpoint,
        rdzv_configs=_all_pairs(args.rdzv_conf, "--rdzv-conf"),
        max_restarts=args.max_restarts,
        local_addr=args.local_addr,
        node_rank=args.node_rank,
        shutdown_timeout=args.shutdown_timeout,
        failure_file=args.failure_file,
        dump_stacks=args.dump_stacks,
        spawner=args.spawner,
        **start.settings_of(args),
        **notice.settings_of(args),
        bootstrap=args.bootstrap,
        restart_policy=args.restart_policy,
        monitors=tuple(args.monitor),
        event_recorders=tuple(args.event_recorder),
        **fields_of(args, os.environ),
        block_plugins=tuple(args.block_plugin),
        **binding.settings_of(args),
    )


def parse_nnodes(text: str) -> tuple[int, int]:
    """Return the fewest and most nodes that ``N`` or ``MIN:MAX`` means.

    Raises:
        UsageError: If the text is neither.
    """
    found = _NNODES.fullmatch(text.strip())
    if not found:
        raise UsageError(
            f"--nnodes is N or MIN:MAX, for example 2 or 1:4, not {text!r}"
        )
    least = int(found[1])
    return least, int(found[2]) if found[2] else least


def _all_pairs(texts: Sequence[str], flag: str) -> dict[str, str]:
    """Read a flag that may be given several times; the last word on a key counts."""
    return {k: v for text in texts for k, v in parse_pairs(text, flag).items()}


def entry_of(args: argparse.Namespace) -> CommandEntry | ScriptEntry:
    """Return what the workers run.

    Raises:
        UsageError: If the script does not exist.
    """
    script = args.script
    if args.no_python:
        return CommandEntry((script, *args.args), name=script)
    if args.module:
        return ScriptEntry(script, tuple(args.args), name=script, module=True)
    if not Path(script).exists():
        raise UsageError(
            f"script {script!r} does not exist in {str(Path.cwd())!r}; "
            f"use -m for a module, --no-python for a program"
        )
    return ScriptEntry(script, tuple(args.args), name=script, run_path=args.run_path)
