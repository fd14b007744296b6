"""Settings in a TOML file: a table whose keys are the flags without their dashes."""

import argparse
import os
from collections.abc import Mapping
from typing import Any

import attrs

from elaunch.cli.names import PROJECT
from elaunch.errors import UsageError
from elaunch.text import suggestion


WHAT_TO_RUN = ("script", "args")
"""Keys beside the flags."""

_COMMAS = frozenset(
    {
        *("local_ranks_filter", "ranks_filter", "preload", "device_variable"),
        *("block_plugins", "signals_to_handle"),
    }
)
"""Settings whose text is a list with commas, so that an array can stand for it."""

_DOUBLED = frozenset({"duplicate_stdout_filters", "duplicate_stderr_filters"})
"""Such lists in which a comma of a value is written twice."""

_PAIRS = frozenset({"rdzv_conf"})
_BY_RANK = frozenset({"redirects", "tee"})
_SPECS = frozenset(
    {
        *("spawner", "bootstrap", "restart_policy", "log_layout"),
        *("monitor", "preflight", "event_recorder", "event_log_handler", "metrics"),
    }
)
"""Settings that a table can stand for: of options, of streams, of backends."""


@attrs.frozen
class Entry:
    """One key of the file.

    Attributes:
        texts: Its value as the flag would be given, once or several times.
        source: File and key, for messages.
    """

    texts: tuple[str, ...]
    source: str


@attrs.frozen
class ConfigFile:
    """What a file says.

    Attributes:
        name: Its path, as it was given.
        entries: What it says of each setting.
        script: What to run; empty if it does not say.
        args: Arguments of that.
    """

    name: str
    entries: Mapping[str, Entry]
    script: str
    args: tuple[str, ...]


def read_config(
    named: str, source: str, settings: Mapping[str, argparse.Action]
) -> ConfigFile:
    """Read a file that is named.

    Args:
        named: Its path.
        source: The flag or variable that names it.
        settings: The flags.

    Raises:
        UsageError: If it can't be read, or says something that no flag could.
    """
    try:
        data = _bytes(named)
    except OSError as error:
        raise UsageError(f"{source} {named!r}: {error.strerror}") from None
    whole = _parsed(named, data)
    if os.path.basename(named) != PROJECT:  # noqa: PTH119 - pathlib takes longer
        return _read(named, whole, settings)
    found = _in_project(named, whole)
    if found is None:
        raise UsageError(f"{source} {named!r}: it has no table 'tool.elaunch'")
    return _read(named, found, settings)


def read_project(settings: Mapping[str, argparse.Action]) -> ConfigFile | None:
    """Read what the project in this directory says to us, if it does.

    Args:
        settings: The flags.

    Raises:
        UsageError: If it says something that no flag could.
    """
    try:
        data = _bytes(PROJECT)
    except OSError:
        return None
    # Most projects say nothing to us, and need not be understood.
    if b"elaunch" not in data:
        return None
    table = _in_project(PROJECT, _parsed(PROJECT, data))
    return _read(PROJECT, table, settings) if table else None


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes longer
        return file.read()


def _in_project(name: str, whole: Mapping[str, Any]) -> Mapping[str, Any] | None:
    tool = whole.get("tool")
    table = tool.get("elaunch") if isinstance(tool, Mapping) else None
    if table is not None and not isinstance(table, Mapping):
        raise UsageError(f"{name}: 'tool.elaunch' is a table, not {table!r}")
    return table


def _parsed(name: str, data: bytes) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(data.decode())
    except ValueError as error:
        raise UsageError(f"{name} is not TOML: {error}") from None


def _read(
    name: str, table: Mapping[str, Any], settings: Mapping[str, argparse.Action]
) -> ConfigFile:
    entries: dict[str, Entry] = {}
    script, args = "", tuple[str, ...]()
    known = settings.keys() - {"config"}
    for key, value in table.items():
        setting, source = key.replace("-", "_"), f"{name}: {key!r}"
        if setting == "block_plugin":
            setting = "block_plugins"
        if setting == "script":
            script = _text(value, source)
        elif setting == "args":
            args = tuple(_text(one, source) for one in _array(value, source))
        elif setting not in known:
            words = {k.replace("_", "-") for k in (*known, *WHAT_TO_RUN)}
            near = suggestion(setting.replace("_", "-"), words)
            raise UsageError(
                f"{name}: there is no setting {key!r}{near}; the keys are the flags of "
                f"'elaunch run' without their dashes"
            )
        elif setting in entries:
            raise UsageError(f"{source} is given twice, with '-' and with '_'")
        else:
            entries[setting] = Entry(_texts(settings[setting], value, source), source)
    if args and not script:
        raise UsageError(f"{name}: 'args' are the script's; give 'script' as well")
    return ConfigFile(name, entries, script, args)


def _texts(action: argparse.Action, value: Any, source: str) -> tuple[str, ...]:
    """Return a value as texts, in the way in which the flag would be given."""
    setting, several = action.dest, isinstance(action.default, list)
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UsageError(f"{source} is true or false, not {value!r}")
        return (str(value),)
    if isinstance(value, Mapping):
        return _of_table(setting, value, source, several=several)
    if isinstance(value, list) and setting in _COMMAS:
        return (",".join(_text(one, source) for one in value),)
    if isinstance(value, list) and setting in _DOUBLED:
        return (",".join(_text(one, source).replace(",", ",,") for one in value),)
    if isinstance(value, list) and several:
        return tuple(_text(one, source) for one in value)
    return (_text(value, source),)


def _of_table(
    setting: str, table: Mapping[str, Any], source: str, *, several: bool
) -> tuple[str, ...]:
    if setting in ("env", "on_failure"):
        return tuple(f"{name}={_word(v, source)}" for name, v in table.items())
    if setting in _PAIRS:
        return (_pairs(table, source),)
    if setting in _BY_RANK:
        return (",".join(f"{rank}:{_text(v, source)}" for rank, v in table.items()),)
    if setting not in _SPECS:
        raise UsageError(f"{source} can't be a table")
    if not several and len(table) != 1:
        raise UsageError(f"{source} is a table of one backend, not of {len(table)}")
    specs = []
    for backend, options in table.items():
        if not isinstance(options, Mapping):
            raise UsageError(
                f"{source} is a table of backends, each a table of its options; "
                f"{backend!r} is {options!r}"
            )
        specs.append(f"{backend}:{_pairs(options, source)}" if options else backend)
    return tuple(specs)


def _pairs(table: Mapping[str, Any], source: str) -> str:
    pairs = {key: _word(value, source) for key, value in table.items()}
    for key, text in pairs.items():
        if "," in text:
            raise UsageError(
                f"{source}: the value of {key!r} can't hold a comma, not {text!r}"
            )
    return ",".join(f"{key}={text}" for key, text in pairs.items())


def _array(value: Any, source: str) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{source} is an array of texts, not {value!r}")
    return value


def _word(value: Any, source: str) -> str:
    return str(value).lower() if isinstance(value, bool) else _text(value, source)


def _text(value: Any, source: str) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise UsageError(f"{source} is a text or a number, not {value!r}")
