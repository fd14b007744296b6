"""A provider: what a plugin declares about one backend."""

import importlib
import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs


ParamsT = TypeVar("ParamsT")
PortT = TypeVar("PortT")

_NAME = re.compile(r"[a-z][a-z0-9-]*")
_REFERENCE = re.compile(r"\w+(\.\w+)*:\w+")
_SUMMARY_LENGTH = 72


@attrs.frozen
class NoOptions:
    """Options of a backend that has none."""


def _check_name(_: object, __: object, value: str) -> None:
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"a backend's name is lower-case letters, digits and '-', not {value!r}"
        )


def _check_summary(_: object, __: object, value: str) -> None:
    if not value or "\n" in value or len(value) > _SUMMARY_LENGTH:
        raise ValueError(
            f"a summary is one line of at most {_SUMMARY_LENGTH} characters, "
            f"not {value!r}"
        )


def check_options(provider: "Provider[Any, Any]", _: object, value: type | str) -> None:
    """Check the options of a provider, as far as that imports nothing.

    Raises:
        ValueError: If they break a rule.
    """
    if not isinstance(value, str):
        provider.check_class(value)
    elif not _REFERENCE.fullmatch(value):
        raise ValueError(
            f"options are an attrs class, or 'module:Class', not {value!r}"
        )


@attrs.frozen
class Provider(Generic[ParamsT, PortT]):
    """A named way to build one port.

    Attributes:
        name: The word that users type; lower-case letters, digits and ``-``.
        summary: One line of at most 72 characters for ``elaunch plugins``.
        create: Builds the port from the kind's parameters and an instance of
            ``options``. Called only when the backend was chosen, so the place to
            import heavy libraries. Must not block: connecting is the port's business.
        options: A frozen attrs class, each field with a type of ``str``, ``int``,
            ``float`` or ``bool`` (optionally ``| None``) and a default; or its place,
            ``module:Class``, to be imported only when the backend was chosen.

    Raises:
        ValueError: If a field breaks one of these rules.
    """

    name: str = attrs.field(validator=_check_name)
    summary: str = attrs.field(validator=_check_summary)
    create: Callable[[ParamsT, Any], PortT] = attrs.field(
        repr=False, validator=attrs.validators.is_callable()
    )
    options: type[attrs.AttrsInstance] | str = attrs.field(
        default=NoOptions, validator=check_options
    )

    def options_class(self) -> type[attrs.AttrsInstance]:
        """Return the class of the options, imported if only its place was declared.

        Raises:
            ValueError: If it breaks the rules.
            Exception: Whatever importing it raises.
        """
        if not isinstance(self.options, str):
            return self.options
        module, _, name = self.options.partition(":")
        found: type[attrs.AttrsInstance] = getattr(
            importlib.import_module(module), name
        )
        self.check_class(found)
        return found

    def check_class(self, value: Any) -> None:
        """Check a class of options.

        Raises:
            ValueError: If it breaks the rules.
        """
        if not isinstance(value, type) or not attrs.has(value):
            raise ValueError(f"options must be an attrs class, not {value!r}")
        without = [f.name for f in attrs.fields(value) if f.default is attrs.NOTHING]
        if without:
            raise ValueError(
                f"each option needs a default; {value.__name__}.{without[0]} has none"
            )
