"""The size of the job: what the flags about it mean."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from elaunch.errors import UsageError
from elaunch.text import quoted, suggestion


if TYPE_CHECKING:
    from elaunch.accelerators import Counted


logger = logging.getLogger(__name__)

_NNODES = re.compile(r"(\d{1,9})(?::(\d{1,9}))?")
_NUMBER = re.compile(r"[-+]?\d{1,9}")


def parse_nnodes(text: str, source: str = "--nnodes") -> tuple[int, int]:
    """Return the fewest and most nodes that ``N`` or ``MIN:MAX`` means.

    Raises:
        UsageError: If the text is neither.
    """
    found = _NNODES.fullmatch(text.strip())
    if not found:
        raise UsageError(
            f"{source} is N or MIN:MAX, for example 2 or 1:4, not {text!r}"
        )
    least = int(found[1])
    return least, int(found[2]) if found[2] else least


def workers_of_node(
    text: str,
    environment: Mapping[str, str],
    source: str = "--nproc-per-node",
    root: Path = Path("/"),
) -> int:
    """Return how many workers a number or a word means on this host.

    Args:
        text: A number, ``cpu``, a kind of accelerator, or ``auto``.
        environment: Says which accelerators are seen.
        source: Who asks, for messages.
        root: The root directory.

    Raises:
        UsageError: If the text is neither, or there is no such accelerator.
    """
    word = text.strip()
    if _NUMBER.fullmatch(word):
        return int(word)
    from elaunch.accelerators import WORDS
    from elaunch.inventory import accelerators, usable_cpus, ways

    if word not in WORDS:
        raise UsageError(
            f"{source} {text!r} is unsupported: it is a number or one of "
            f"{quoted(WORDS)}{suggestion(word, WORDS)}"
        )
    there = list(_until_seen(accelerators(word, environment, root)))
    if there and there[-1].number:
        number, what, rule = there[-1].number, there[-1].maker.name, there[-1].rule
    elif word in ("auto", "cpu"):
        number, what, rule = usable_cpus(), "CPU", "those this process may use"
    else:
        hidden = [f"{one.rule} shows none" for one in there]
        why = hidden or [f"asked: {', '.join(ways(word))}"]
        raise UsageError(
            f"{source} {word}: there is no such device here ({'; '.join(why)}); give "
            f"a number, or 'cpu'"
        )
    logger.info(
        "%s %s: %d workers, one for each %s (%s)", source, word, number, what, rule
    )
    return number


def _until_seen(there: Iterable["Counted"]) -> Iterator["Counted"]:
    """Yield what there is up to the first that this process sees some of."""
    for counted in there:
        yield counted
        if counted.number:
            return
