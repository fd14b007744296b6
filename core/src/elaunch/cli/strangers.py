"""Variables that look like a setting's and are none: somebody mistyped."""

from collections.abc import Iterable, Iterator, Mapping

from elaunch.cli.variables import names_of
from elaunch.environ import BY_AGENT, BY_BOOTSTRAP, BY_SPAWNER, TABLE, WITHHELD


_PREFIXES = ("ELAUNCH_", "PET_")

_ALIKE = 0.85
"""How alike two names are of which one is the other mistyped, from 0 to 1.

Plugins and sites have variables of these beginnings, too, so that not every name that
nobody here knows is a mistake.
"""


def mistyped(environment: Mapping[str, str], settings: Iterable[str]) -> Iterator[str]:
    """Yield what to tell of each variable that is meant for a setting, and is none's.

    Args:
        environment: The variables.
        settings: Every setting.
    """
    known = {name for setting in settings for name in names_of(setting)}
    other = {variable.name for variable in TABLE}
    other |= BY_AGENT.keys() | BY_BOOTSTRAP.keys() | BY_SPAWNER.keys()
    other |= WITHHELD.keys()
    for name in sorted(environment.keys() - known - other):
        meant = _meant(name, known) if name.startswith(_PREFIXES) else ""
        if meant:
            yield f"the variable {name} says nothing; did you mean {meant}?"


def _meant(name: str, known: Iterable[str]) -> str:
    prefix, _, rest = name.partition("_")
    settings = {k.partition("_")[2]: k for k in known if k.startswith(f"{prefix}_")}
    begun = [k for k in settings if k.startswith(f"{rest}_")]
    near = begun if len(begun) == 1 else _near(rest, settings)
    return settings[near[0]] if near else ""


def _near(rest: str, settings: Iterable[str]) -> list[str]:
    import difflib  # which is seldom needed

    return difflib.get_close_matches(rest, sorted(settings), n=1, cutoff=_ALIKE)
