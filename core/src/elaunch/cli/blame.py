"""Who gave a setting that an error complains of, if it was not typed. Pure.

Whoever refuses a value knows nothing of variables and files, so its message is searched
for the settings: by name, or by value.
"""

import re

from elaunch.cli.found import Origin
from elaunch.cli.settings import Resolved


_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")

_SHORTEST = 3
"""Letters of a value that is recognized within a longer text."""


def sources_of(message: str, resolved: Resolved) -> list[str]:
    """Return the variables, files and the like whose word a message is about.

    Args:
        message: What the user reads.
        resolved: The settings.
    """
    first_line = message.partition("\n")[0]  # what there is stands below
    found = [
        resolved.sources[name]
        for name, origin in resolved.origins.items()
        if Origin.FLAG < origin < Origin.DEFAULT
        and (
            _is_named(name, message)
            or _is_quoted(getattr(resolved.args, name), first_line)
        )
    ]
    return [source for source in dict.fromkeys(found) if source not in message]


def _is_named(name: str, message: str) -> bool:
    # Fields of the configuration are spelled with underscores, some in the plural.
    words = f"--{name.replace('_', '-')}|{name}s?"
    if re.match(rf"(?:{words}|{name.removeprefix('log_')})\b", message):
        return True
    # What is a word of English may mean something else in the middle of a sentence.
    anywhere = words if "_" in name else words.partition("|")[0]
    return bool(re.search(rf"(?<![\w-])(?:{anywhere})(?![\w-])", message))


def _is_quoted(value: object, message: str) -> bool:
    """Whether a value, or a part of it such as the name of a backend, is quoted."""
    quoted = {one or other for one, other in _QUOTED.findall(message)}
    for text in value if isinstance(value, list) else [value]:
        if not isinstance(text, str) or not text:
            continue
        parts = {*re.split(r"[:,=]", text), *re.split(r"[,=]", text)} - {""}
        if quoted & {text, *parts}:
            return True
        if len(text) >= _SHORTEST and any(text in longer for longer in quoted):
            return True
    return False
