"""The worker's side of a function entry: ``-m elaunch_spawn_local.function_worker``.

Arguments: the file with the call, and the file to write the value to. Both are the
agent's private files, see `function_call`; nothing here comes from the network.
"""

import os
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from elaunch.worker import record
from elaunch_spawn_local import raised


def run(call: Path, result: Path) -> None:
    """Perform the call that a file holds, and leave the value in another.

    Args:
        call: What `function_call.write_call` wrote.
        result: Where the value is to be.
    """
    _leave(_shown(lambda: _perform(call)), result)


def call(function: Callable[..., Any], args: Sequence[Any], result: Path) -> None:
    """Call a function, and leave the value in a file."""
    _leave(_shown(lambda: record(function)(*args)), result)


def _shown(work: Callable[[], Any]) -> Any:
    """Do it; what it raises ends the process and is shown from the user's code on."""
    try:
        return work()
    except KeyboardInterrupt as error:
        raised.show_later(error)
        raise
    except Exception as error:  # noqa: BLE001 - the last one to see it
        raised.end_with(error)


def _leave(value: Any, result: Path) -> None:
    try:
        _hand_back(value, result)
    except Exception as error:  # noqa: BLE001 - as above
        # The message says it all: where the launcher stood is nobody's business.
        raised.end_with(error.with_traceback(None))


@record
def _perform(call: Path) -> Any:
    with call.open("rb") as file:
        sys.path[:] = pickle.load(file)  # noqa: S301 - see the module's docstring
        function, args = pickle.load(file)  # noqa: S301 - as above
    return function(*args)


@record
def _hand_back(value: Any, result: Path) -> None:
    import cloudpickle

    try:
        data = cloudpickle.dumps(value)
    except Exception as error:  # noqa: BLE001 - what pickles may raise anything
        raise TypeError(
            f"the function returned a {type(value).__qualname__!r}, which can't be "
            f"handed back: {error}; return plain data"
        ) from None
    draft = result.with_suffix(".draft")
    with open(draft, "wb", opener=_private) as file:
        file.write(data)
    draft.replace(result)  # so that the agent finds a whole value or none


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
