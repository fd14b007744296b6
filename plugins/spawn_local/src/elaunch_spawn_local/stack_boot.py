"""A Python worker in a fresh interpreter that can be asked for its stacks.

Started by the command line of `command`; what it runs finds what it would find without.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from elaunch_spawn_local import stack_signal


# The first entry of the path is the current directory: nothing may be found there yet.
_ENTER = (
    "import sys; del sys.path[0]; "
    "from elaunch_spawn_local.stack_boot import main; main()"
)


def command(file: Path, kind: str, target: str, args: Sequence[str]) -> tuple[str, ...]:
    """Return the command line of a worker.

    Args:
        file: Where it is to write its stacks.
        kind: ``script``, ``module``, or ``call`` for a function.
        target: Path of the script, name of the module, or path of the call.
        args: Of a script or module its arguments, of a call the file for the value.
    """
    return (sys.executable, "-u", "-c", _ENTER, str(file), kind, target, *args)


def main() -> None:
    """Be the worker that the command line describes."""
    file, kind, target, *args = sys.argv[1:]
    stack_signal.register(file)
    if kind == "call":
        from elaunch_spawn_local import function_worker

        function_worker.run(Path(target), Path(args[0]))
        return
    from elaunch_spawn_local import python_worker

    run = python_worker.run_module if kind == "module" else python_worker.run_script
    run(target, args)
