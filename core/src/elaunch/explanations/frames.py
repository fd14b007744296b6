"""Frames of the launcher: they stand in tracebacks of workers and help nobody."""

import re
from collections.abc import Sequence


_SEPARATOR = r"[/\\]"
_LAUNCHER = re.compile(
    r'^\s+File "(?:<frozen runpy>|<frozen importlib\._bootstrap>'
    rf"|.*{_SEPARATOR}elaunch{_SEPARATOR}worker{_SEPARATOR}\w+\.py"
    rf'|.*{_SEPARATOR}elaunch_spawn_local{_SEPARATOR}\w+\.py)", line \d+'
)
_FRAME = re.compile(r'^\s+File "')
_HEADS = ("Traceback (most recent call last):", "(most recent call first):")


def without_launcher_frames(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the lines without the frames by which a launcher enters the user's code.

    In a traceback those are the first ones; a later frame is there because the user's
    code led to it. In a dump of `faulthandler`, which begins at the other end, they are
    the last ones.
    """
    kept: list[str] = []
    entering = dropping = False
    for line in lines:
        if line.rstrip().endswith(_HEADS):
            entering, dropping = True, False
        elif _FRAME.match(line):
            # Only a dump has the function's name without a comma before it.
            dumped = ", in " not in line
            dropping = (entering or dumped) and bool(_LAUNCHER.match(line))
            entering = entering and (dropping or dumped)
        elif dropping and not line.startswith("    "):
            entering = dropping = False
        if not dropping:
            kept.append(line)
    return tuple(kept)
