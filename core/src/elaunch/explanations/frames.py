"""Frames of the launcher: they stand in tracebacks of workers and help nobody."""

import re
from collections.abc import Sequence

from elaunch.text import without_colours


_SEPARATOR = r"[/\\]"
_LAUNCHER = re.compile(
    r'^\s+File "(?:<frozen runpy>|<frozen importlib\._bootstrap>'
    rf"|.*{_SEPARATOR}elaunch{_SEPARATOR}worker{_SEPARATOR}\w+\.py"
    rf'|.*{_SEPARATOR}elaunch_spawn_local{_SEPARATOR}\w+\.py)", line \d+'
)
_RECORDED = re.compile(
    rf'^\s+File ".*{_SEPARATOR}elaunch{_SEPARATOR}worker{_SEPARATOR}error_file\.py"'
    r", line \d+,? in recorded$"
)
_FRAME = re.compile(r'^\s+File "')
_HEADS = ("Traceback (most recent call last):", "(most recent call first):")


def without_launcher_frames(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the lines without the frames by which a launcher enters the user's code.

    In a traceback those are the first ones; a later frame is there because the user's
    code led to it. In a dump of `faulthandler`, which begins at the other end, they are
    the last ones. The frame of `elaunch.worker.record` only passes calls on, wherever
    it stands.
    """
    kept: list[str] = []
    entering = dropping = False
    for line in lines:
        plain = without_colours(line)
        if plain.rstrip().endswith(_HEADS):
            entering, dropping = True, False
        elif _FRAME.match(plain):
            # Only a dump has the function's name without a comma before it.
            dumped = ", in " not in plain
            ours = (entering or dumped) and _LAUNCHER.match(plain)
            dropping = bool(ours or _RECORDED.match(plain))
            entering = entering and (dropping or dumped)
        elif dropping and not plain.startswith("    "):
            entering = dropping = False
        if not dropping:
            kept.append(line)
    return tuple(kept)
