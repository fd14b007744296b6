"""What the last lines that a process wrote to stderr say about its end.

Pure functions over text that any program may have written: they never raise.
"""

from elaunch.explanations.explain import explain
from elaunch.explanations.explanation import Explanation, described
from elaunch.explanations.frames import without_launcher_frames
from elaunch.explanations.python import class_in


__all__ = [
    "Explanation",
    "class_in",
    "described",
    "explain",
    "without_launcher_frames",
]
