"""A provider declares its options by their class, or by its place."""

import attrs
import pytest

from elaunch.api import NoOptions, PreflightProvider, Provider
from elaunch.preflights.options import DiskOptions


DISK = "elaunch.preflights.options:DiskOptions"


def provider(options: type[attrs.AttrsInstance] | str) -> Provider[object, object]:
    return Provider("it", "of a test", lambda _, __: None, options)


def test_a_class_counts_as_it_is() -> None:
    assert provider(DiskOptions).options_class() is DiskOptions
    assert Provider("it", "of a test", print).options_class() is NoOptions


def test_a_place_is_looked_at_when_the_class_is_wanted() -> None:
    assert provider(DISK).options_class() is DiskOptions
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        provider("no_such_module:Options").options_class()


@pytest.mark.parametrize("place", ["", "module", "module:", "a b:c", "m:C.d"])
def test_what_is_no_place_is_refused_at_once(place: str) -> None:
    with pytest.raises(ValueError, match="an attrs class, or 'module:Class'"):
        provider(place)


def test_the_class_at_a_place_keeps_the_rules() -> None:
    with pytest.raises(ValueError, match="must be an attrs class"):
        provider("enum:Enum").options_class()
    with pytest.raises(ValueError, match=r"Entry\.key has none"):
        provider("elaunch.store:Entry").options_class()


def test_options_of_a_preflight_inherit_those_of_all() -> None:
    preflight = PreflightProvider("it", "of a test", print, DISK)  # type: ignore[arg-type] # never called

    assert preflight.options_class() is DiskOptions
    for options in (NoOptions, "elaunch.provider:NoOptions"):
        with pytest.raises(TypeError, match="inherit PreflightOptions"):
            PreflightProvider("it", "of a test", print, options).options_class()  # type: ignore[arg-type] # the point
