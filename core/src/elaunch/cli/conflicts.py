"""Settings that exclude each other: what counts more wins. Pure.

Two flags that contradict each other are left as they are, for whoever uses them to
complain. Whatever the environment or a file says gives way, since it was said for
another command, perhaps for the launcher that started this one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from elaunch.cli.found import Found, Origin
from elaunch.cli.names import DEFAULT_BACKEND, MASTER_BACKEND
from elaunch.cli.size import parse_nnodes
from elaunch.errors import UsageError


EXCLUSIVE = (("module", "no_python", "run_path"), ("verbose", "quiet"))
"""Flags of which one may be given."""

_PLACE = ("rdzv_endpoint", "master_addr", "master_port")
"""Where nodes meet: nothing that a node alone has a use for."""


def settle(found: Mapping[str, Found], defaults: Mapping[str, Any]) -> dict[str, Found]:
    """Return the settings without those that others exclude.

    Args:
        found: Each setting.
        defaults: Default of each.

    Raises:
        UsageError: If two variables, or two keys of a file, exclude each other and
            none of them can be meant less.
    """
    settled = dict(found)
    for names in EXCLUSIVE:
        _keep_one(settled, names, defaults)
    _alone(settled, defaults)
    _one_place(settled, defaults)
    return settled


def _keep_one(
    found: dict[str, Found], names: Sequence[str], defaults: Mapping[str, Any]
) -> None:
    wanted = sorted((n for n in names if found[n].value), key=lambda n: _rank(found[n]))
    if len(wanted) > 1:
        first, second = (found[name] for name in wanted[:2])
        if _rank(first) == _rank(second):
            raise UsageError(
                f"{first.source} and {second.source} exclude each other: one asks for "
                f"{wanted[0]!r}, one for {wanted[1]!r}; leave out one of them"
            )
    for name in wanted[1:]:
        found[name] = _default(defaults[name])


def _alone(found: dict[str, Found], defaults: Mapping[str, Any]) -> None:
    """Let a node be alone, or meet others, whatever was said more explicitly."""
    alone = found["standalone"]
    if not alone.value:
        return
    others = [name for name in _PLACE if _is_given(found[name])]
    if found["rdzv_backend"].value not in (None, DEFAULT_BACKEND):
        others.append("rdzv_backend")
    place = tuple(others)
    if parse_nnodes(found["nnodes"].value, found["nnodes"].source)[1] > 1:
        others.append("nnodes")
    if any(_rank(found[name]) < _rank(alone) for name in others):
        found["standalone"] = _default(defaults["standalone"])
        return
    for name in (*others, "rdzv_id", "rdzv_conf", "node_rank"):
        if _rank(found[name]) > _rank(alone) or (
            name in place and _is_quiet(found[name])
        ):
            found[name] = _default(defaults[name])


def _one_place(found: dict[str, Found], defaults: Mapping[str, Any]) -> None:
    """Let one way count of the two in which a place is named."""
    masters = [n for n in ("master_addr", "master_port") if _is_given(found[n])]
    if not masters:
        return
    master = min((found[name] for name in masters), key=_rank)
    for other in ("rdzv_endpoint", "rdzv_backend"):
        one = found[other]
        if not _is_given(one) or one.value == MASTER_BACKEND:
            continue
        if _rank(one) > _rank(master):
            found[other] = _default(defaults[other])
        elif _rank(one) < _rank(master) or _is_quiet(one):
            found.update({name: _default(defaults[name]) for name in masters})
            return


def _rank(one: Found) -> tuple[int, int]:
    return one.origin, one.place


def _is_given(one: Found) -> bool:
    return one.origin is not Origin.DEFAULT and one.value not in (None, "")


def _is_quiet(one: Found) -> bool:
    """Whether it was said elsewhere than on the command line."""
    return one.origin is not Origin.FLAG


def _default(value: Any) -> Found:
    return Found(value, "default", Origin.DEFAULT)
