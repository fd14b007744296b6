"""The agent's side of a function entry: the call goes out, the value comes back.

Calls and values are pickles. They never come from the network: they lie in files of
mode 0600 in a directory of mode 0700 that this user's agent made a moment ago, and are
written and read by this user's own processes.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from elaunch.api import FunctionEntry, SpawnError


NO_VALUE = "the function's process ended with exit code 0 without returning a value"


@attrs.frozen
class Value:
    """What a function handed back.

    Attributes:
        value: What it returned.
        error: Why there is no value, or empty.
    """

    value: Any = None
    error: str = ""


def write_call(entry: FunctionEntry, path: Path) -> None:
    """Write what the workers are to call.

    Raises:
        SpawnError: If the function or its arguments can't be pickled, or the file
            can't be written.
    """
    import pickle

    from elaunch_spawn_local import by_value

    try:
        with _sent_by_value(getattr(entry.function, "__module__", None)):
            call = by_value.dumps((entry.function, entry.args))
        # The path first, and by itself: the function may need it to be unpickled.
        data = pickle.dumps(sys.path) + call
    except Exception as error:
        raise SpawnError(
            f"function {entry.name!r} or its arguments can't be sent to workers: "
            f"{type(error).__name__}: {error}; pass plain data, and open files, locks "
            f"and connections inside the function"
        ) from error
    try:
        _write_private(path, data)
    except OSError as error:
        raise SpawnError(
            f"can't write {str(path)!r}: {error.strerror}; set TMPDIR to a directory "
            f"with room for the function's arguments"
        ) from error


def command(call: Path, result: Path) -> tuple[str, ...]:
    """Return the command line of a worker that performs the call."""
    # -P: what lies in the current directory must not shadow the standard library.
    worker = "elaunch_spawn_local.function_worker"
    return (sys.executable, "-u", "-P", "-m", worker, str(call), str(result))


def read_value(result: Path) -> Value:
    """Read what a worker that ended with exit code 0 handed back."""
    import pickle

    try:
        with result.open("rb") as file:
            return Value(pickle.load(file))  # noqa: S301 - see the module's docstring
    except FileNotFoundError:
        return Value(error=NO_VALUE)
    except Exception as error:  # noqa: BLE001 - unpickling runs the value's own code
        why = f"{type(error).__name__}: {error}"
        return Value(error=f"the function's value can't be read back: {why}")


@contextlib.contextmanager
def _sent_by_value(name: str | None) -> Iterator[None]:
    """Pickle a module's functions by value if a worker could not import it.

    That is so for modules that were loaded from a file, as test runners do.
    """
    import cloudpickle

    module = sys.modules.get(name or "")
    if module is None or name == "__main__" or _importable(module):
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _importable(module: ModuleType) -> bool:
    """Whether the module is found on the path, as a worker would look for it."""
    if getattr(module, "__file__", None) is None:
        return True  # built in
    path: Sequence[str] | None = None
    name = ""
    for part in module.__name__.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return True


def _write_private(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)
