"""The options of each check. Light, with what they import: every command has them."""

import attrs

from elaunch.api import PreflightOptions


def _is_size(_: object, field: "attrs.Attribute[str]", value: str) -> None:
    from elaunch.sizes import size_of

    try:
        size_of(value)
    except ValueError as error:
        raise ValueError(f"{field.name!r} is {error}") from None


@attrs.frozen(kw_only=True)
class DiskOptions(PreflightOptions):
    """Options of ``disk``, beside those that every check has.

    Attributes:
        path: Directory to look at; by default that of the workers' output, where one is
            named, else that of temporary files.
        free: Bytes that must be free for this user, for example ``10GiB``.
        inodes: Files that there must be room for.
        write: Whether a file is written there, synchronised and removed.
    """

    path: str = ""
    free: str = attrs.field(default="1GiB", validator=_is_size)
    inodes: int = attrs.field(default=1000, validator=attrs.validators.ge(0))
    write: bool = True


@attrs.frozen(kw_only=True)
class MemoryOptions(PreflightOptions):
    """Options of ``memory``, likewise.

    Attributes:
        available: Bytes that must be available, on the host and within the limits of
            the control group that the agent is in.
    """

    available: str = attrs.field(default="1GiB", validator=_is_size)


def _is_server(_: object, __: object, value: str) -> None:
    import re

    place = r"(?:[^\s:/\[\],]+|\[[^\s\[\],]+\])(?::([0-9]{1,5}))?"
    found = re.fullmatch(place, value)
    if value and not (found and 0 < int(found[1] or 1) < 1 << 16):
        raise ValueError(f"'server' is of the form HOST[:PORT], not {value!r}")


@attrs.frozen(kw_only=True)
class ClockOptions(PreflightOptions):
    """Options of ``clock``, likewise.

    Attributes:
        max_error: Most seconds by which the clock may be wrong.
        server: Time server to compare it with, as ``HOST[:PORT]``; empty to go by what
            the kernel knows from the service that keeps the time here.
    """

    max_error: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    server: str = attrs.field(default="", validator=_is_server)


@attrs.frozen(kw_only=True)
class EndpointOptions(PreflightOptions):
    """Options of ``endpoint``, likewise.

    Attributes:
        address: ``HOST:PORT`` that must be reached; empty for where the nodes meet.
        listening: Whether somebody must listen there, too. Where nodes meet nobody may
            do so yet.
    """

    address: str = ""
    listening: bool = False


def _is_command(_: object, __: object, value: str) -> None:
    import shlex

    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"'run' is a command line, not {value!r}: {error}") from None
    if value and not words:
        raise ValueError(f"'run' is a command line, not {value!r}")


@attrs.frozen(kw_only=True)
class CommandOptions(PreflightOptions):
    """Options of ``command``, likewise.

    Attributes:
        run: The command, in a shell's quotes; no shell runs it. The node is fit if it
            ends with 0.
    """

    run: str = attrs.field(default="", validator=_is_command)
