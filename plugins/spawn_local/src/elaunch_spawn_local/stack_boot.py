"""A Python worker in a fresh interpreter that can be asked for its stacks.

Started by the command line of `command`; what it runs finds what it would find without.
"""

import sys

from elaunch_spawn_local import stack_signal


TYPE_CHECKING = False  # `typing` is slow to import, see `stack_signal`
if TYPE_CHECKING:
    from collections.abc import Sequence


# The first entry of the path is the current directory: nothing may be found there yet.
_ENTER = (
    "import sys; del sys.path[0]; "
    "from elaunch_spawn_local.stack_boot import main; main()"
)


def command(kind: str, target: str, args: "Sequence[str]") -> tuple[str, ...]:
    """Return the command line of a worker.

    Args:
        kind: ``script``, ``module``, or ``call`` for a function.
        target: Path of the script, name of the module, or path of the call.
        args: Of a script or module its arguments, of a call the file for the value.
    """
    return (sys.executable, "-u", "-c", _ENTER, kind, target, *args)


def main() -> None:
    """Be the worker that the command line describes."""
    kind, target, *args = sys.argv[1:]
    stack_signal.register()
    if kind == "call":
        from pathlib import Path

        from elaunch_spawn_local import function_worker

        function_worker.run(Path(target), Path(args[0]))
        return
    from elaunch_spawn_local import python_worker

    run = python_worker.run_module if kind == "module" else python_worker.run_script
    run(target, args)
