"""The worker's side of a function entry: ``-m elaunch_spawn_local.function_worker``.

Arguments: the file with the call, and the file to write the value to. Both are the
agent's private files, see `function_call`; nothing here comes from the network.
"""

import os
import pickle
import sys
from pathlib import Path
from typing import Any

from elaunch.worker import record


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
    except Exception as error:
        raise TypeError(
            f"the function returned a {type(value).__qualname__!r}, which can't be "
            f"handed back: {error}; return plain data"
        ) from error
    draft = result.with_suffix(".draft")
    with open(draft, "wb", opener=_private) as file:
        file.write(data)
    draft.replace(result)  # so that the agent finds a whole value or none


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


if __name__ == "__main__":
    _hand_back(_perform(Path(sys.argv[1])), Path(sys.argv[2]))
