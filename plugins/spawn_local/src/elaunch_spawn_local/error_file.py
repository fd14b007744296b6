"""What a worker's error file tells, read with distrust: a program wrote it."""

import json
import re
from pathlib import Path
from typing import Any

import attrs


_FILE_LIMIT = 1024 * 1024
_MESSAGE_LIMIT = 2 * 1024
_FAR_FUTURE = 1e11  # seconds; some thousand years
_OURS = str(Path(__file__).parent) + "/"
_FRAME = re.compile(r'File "(.+?)", line (\d+)')


@attrs.frozen
class Told:
    """What a worker left about its error.

    Attributes:
        message: The error in one line, or empty.
        traceback: The formatted traceback, or empty.
        location: ``file:line`` of the traceback's innermost frame, or empty.
        time: Unix time of the error in seconds; 0 where it isn't told to less than a
            second, or is no number.
    """

    message: str = ""
    traceback: str = ""
    location: str = ""
    time: float = 0.0


def read_error_file(path: Path) -> Told:
    """Read an error file in torchelastic's nested or flat form.

    A file that is missing, too long, or not in one of these forms tells nothing.
    """
    try:
        # Not more than a file: opening a pipe that the worker put there would block.
        if not path.is_file():
            return Told()
        with path.open("rb") as file:
            content = json.loads(file.read(_FILE_LIMIT))
    except (OSError, ValueError, RecursionError):
        return Told()
    return _told(content)


def _told(content: Any) -> Told:
    message = content.get("message") if isinstance(content, dict) else None
    if isinstance(message, str):
        return Told(_one_line(message))
    if not isinstance(message, dict):
        return Told()
    text = message.get("message")
    extra = message.get("extraInfo")
    stack = extra.get("py_callstack") if isinstance(extra, dict) else None
    traceback = stack.rstrip("\n") if isinstance(stack, str) else ""
    return Told(
        message=_one_line(text) if isinstance(text, str) else "",
        traceback=traceback,
        location=_innermost(traceback),
        time=_seconds(extra.get("unix_time")) if isinstance(extra, dict) else 0.0,
    )


def _seconds(value: Any) -> float:
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if known and 0 < value < _FAR_FUTURE else 0.0


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_MESSAGE_LIMIT]


def _innermost(traceback: str) -> str:
    frames = [f for f in _FRAME.findall(traceback) if not f[0].startswith(_OURS)]
    return ":".join(frames[-1]) if frames else ""
