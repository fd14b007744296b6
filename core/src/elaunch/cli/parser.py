"""The flags. `docs/cli.md` lists them, and a test compares."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from elaunch.cli import backends, binding, control, failing, meeting, start
from elaunch.cli.actions import actions_of
from elaunch.cli.words import canonical


OWN = ("run", "explain", "plugins", "replay", "beat", "completion", *control.COMMANDS)
"""Subcommands of the core; all others come from plugins."""

EXPLAIN = "elaunch explain"
"""What users type to get the plan of a run."""


SHELLS = ("bash", "zsh", "fish")
"""Those of `elaunch.cli.completion`, which takes longer to import."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours: one message for `main` to print, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise what `main` prints."""
        from elaunch.errors import UsageError

        raise UsageError(f"{message}\n  see '{self.prog} --help'")


class _Version(argparse.Action):
    """Print the version; importing its metadata waits until it is asked for."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        *_: object,
    ) -> NoReturn:
        import elaunch

        print(f"elaunch {elaunch.__version__}")
        parser.exit()


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of what is not ``run``.

    Raises:
        UsageError: If one is unknown (suggests the nearest flag) or wrong.
    """
    parser, commands = build_parsers()
    own = {flag for action in actions_of(parser) for flag in action.option_strings}
    first = argv[0] if argv else ""
    if first.startswith("-") and first not in own:
        parser.error(f"flags follow the command; write 'elaunch run {first} ...'")
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        _complain(commands[args.command], unknown)
    return args


def given(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Return what the words say, and nothing of what they leave out.

    Raises:
        UsageError: As for `parse`.
    """
    defaults = [(action, action.default) for action in actions_of(parser)]
    for action, _ in defaults:
        action.default = argparse.SUPPRESS
    try:
        args, unknown = parser.parse_known_args(canonical(parser, words))
    finally:
        for action, default in defaults:
            action.default = default
    if unknown:
        _complain(parser, unknown)
    return args


def _complain(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> NoReturn:
    from elaunch.text import suggestion

    known = [flag for action in actions_of(parser) for flag in action.option_strings]
    hint = suggestion(unknown[0].partition("=")[0].replace("_", "-"), known)
    parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")


def build_parsers() -> tuple[
    argparse.ArgumentParser, dict[str, argparse.ArgumentParser]
]:
    """Return the parser of the whole command line, and that of each subcommand."""
    from elaunch.cli import beat, replay  # an agent does without

    parser = _Parser(
        prog="elaunch",
        description="Launch and supervise elastic distributed jobs.",
        epilog="Plugins add commands; 'elaunch plugins' lists them.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="print the version and exit"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run", help="run this node's agent of a job", **_run_settings("elaunch run")
    )
    _add_run(run)
    explain = commands.add_parser(
        "explain",
        help="tell what 'elaunch run' would do, and do nothing",
        **_run_settings(EXPLAIN),
    )
    _add_explain(explain)
    listing = "list the backends that are installed, and what failed to load"
    plugins = commands.add_parser(
        "plugins", help=listing, description=listing.capitalize(), allow_abbrev=False
    )
    _add_plugins(plugins)
    replaying = "tell what another restart policy would have decided"
    replay_parser = commands.add_parser(
        "replay",
        help=replaying,
        description=f"{replaying.capitalize()} about failures that were recorded.",
        allow_abbrev=False,
    )
    replay.add_flags(replay_parser)
    beating = "tell the agent of a worker how that goes, from a shell"
    beat_parser = commands.add_parser(
        "beat",
        help=beating,
        description=f"{beating.capitalize()}. Without flags it is a heartbeat.",
        usage="elaunch beat [flags] [NAME=VALUE ...]",
        allow_abbrev=False,
    )
    beat.add_flags(beat_parser)
    printing = "print a script that lets a shell complete flags and commands"
    completion = commands.add_parser(
        "completion", help=printing, description=printing.capitalize()
    )
    completion.add_argument("shell", choices=SHELLS, help="which shell it is for")
    asking = {}
    for name, summary in control.COMMANDS.items():
        asking[name] = commands.add_parser(
            name, help=summary, description=summary.capitalize(), allow_abbrev=False
        )
        control.add_flags(name, asking[name])
    return parser, {
        "run": run,
        "explain": explain,
        "plugins": plugins,
        "replay": replay_parser,
        "beat": beat_parser,
        "completion": completion,
        **asking,
    }


def run_parser(prog: str, *, legacy: bool = False) -> argparse.ArgumentParser:
    """Return the parser of what follows ``elaunch run``.

    Args:
        prog: What the user typed before that.
        legacy: Whether there is ``--use-env``.
    """
    parser = _Parser(prog=prog, **_run_settings(prog))
    if legacy:
        parser.add_argument(
            "--use-env",
            action="store_true",
            help="workers find their local rank in LOCAL_RANK alone, as with elaunch "
            "run; without it, --local-rank=N is the script's first argument",
        )
    add = _add_explain if prog == EXPLAIN else _add_run
    add(parser)
    return parser


def _run_settings(prog: str) -> dict[str, Any]:
    if prog == EXPLAIN:
        description = (
            "Tell what 'elaunch run' would do with the same flags, and do nothing: "
            "each setting and where it is from, ranks, commands, environments, and "
            "what happens when something fails."
        )
    else:
        description = (
            "Run this node's agent of a job: start the workers, watch them, restart "
            "them when one fails or when nodes come and go. Workers have no input, "
            "save that of --debug-rank."
        )
    return {
        "description": description,
        "usage": f"{prog} [flags] script [args ...]",
        "allow_abbrev": False,
    }


def _add_explain(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    parser.add_argument("--json", action="store_true", help="print JSON, for tools")


def _add_plugins(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="print the traceback of each plugin that failed",
    )
    backends.add_block_plugin(parser)


def _add_run(parser: argparse.ArgumentParser) -> None:
    from elaunch.cli.output import add_flags as output_flags

    size = parser.add_argument_group("size of the job")
    size.add_argument(
        "--nnodes",
        metavar="N|MIN:MAX",
        default="1",
        help="nodes of the job (default: 1)",
    )
    size.add_argument(
        "--nproc-per-node",
        metavar="N|WORD",
        default="1",
        help="workers on this node, or gpu, xpu, npu, cpu for one on each of those, "
        "auto for the accelerators, else the CPUs (default: 1)",
    )
    size.add_argument(
        "--role",
        metavar="NAME",
        default="default",
        help="role of this node's workers (default: default)",
    )
    meeting.add_flags(parser.add_argument_group("where nodes meet"))
    start.add_flags(parser.add_argument_group("how workers start"))
    failing.add_flags(parser.add_argument_group("when something fails"))
    binding.add_flags(parser.add_argument_group("place and environment of workers"))
    output_flags(parser.add_argument_group("workers' output"))
    backends.add_flags(parser.add_argument_group("backends"))
    what = parser.add_argument_group("what to run")
    kind = what.add_mutually_exclusive_group()
    kind.add_argument(
        "-m",
        "--module",
        action="store_true",
        help="the script is a module name, as for python -m",
    )
    kind.add_argument(
        "--no-python",
        action="store_true",
        help="the script is a program, run without Python",
    )
    kind.add_argument(
        "--run-path",
        action="store_true",
        help="run the script by runpy.run_path, as torchrun's flag of this name does",
    )
    script = what.add_argument("script", help="the script each worker runs")
    # A configuration file may name it.
    script.required = False
    rest = what.add_argument(
        "args",
        nargs=argparse.REMAINDER,
        metavar="args ...",
        help="everything after the script belongs to the script; {rank}, {world_size} "
        "and the like in it are replaced for each worker (docs/cli.md#templates)",
    )
    rest.required = False  # argparse would ask for it where the script is missing
    _add_config(parser.add_argument_group("settings"))
    says = parser.add_argument_group("what it says")
    says.add_argument(
        "--dry-run",
        action="store_true",
        help="tell what would run, and start nothing; -v tells defaults, too",
    )
    voice = says.add_mutually_exclusive_group()
    voice.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="say everything that happens; show tracebacks of errors",
    )
    voice.add_argument(
        "-q", "--quiet", action="store_true", help="say nothing until something fails"
    )


def _add_config(settings: argparse._ActionsContainer) -> None:
    settings.add_argument(
        "--config",
        metavar="FILE",
        default=None,
        help="TOML file with flags that are left out, and perhaps the script "
        "(default: the table tool.elaunch of ./pyproject.toml; '' for none). Each "
        "flag has a variable, too: ELAUNCH_NNODES for --nnodes",
    )
