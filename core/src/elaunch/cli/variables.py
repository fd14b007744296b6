"""The variable that stands for each flag, and how its text is read."""

import argparse
from collections.abc import Mapping, Sequence

from elaunch.cli.actions import flag_of
from elaunch.errors import UsageError
from elaunch.text import quoted, suggestion


TORCHRUNS = frozenset(
    {
        *("nnodes", "nproc_per_node", "role", "standalone"),
        *("rdzv_backend", "rdzv_endpoint", "rdzv_id", "rdzv_conf"),
        *("master_addr", "master_port", "node_rank", "local_addr"),
        *("max_restarts", "monitor_interval", "start_method", "shutdown_timeout"),
        *("event_log_handler", "signals_to_handle"),
        *("module", "no_python", "run_path"),
        *("log_dir", "redirects", "tee", "local_ranks_filter", "logs_specs"),
        *("duplicate_stdout_filters", "duplicate_stderr_filters"),
        *("numa_binding", "virtual_local_rank"),
    }
)
"""Settings that torchrun has, too: they have a variable of its kind beside ours."""

OTHERS: Mapping[str, str] = {
    "log_line_prefix_template": "TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE",
    "exit_barrier_timeout": "TORCH_ELASTIC_EXIT_BARRIER_TIMEOUT",
    "shutdown_timeout": "TORCH_ELASTIC_SHUTDOWN_TIMEOUT",
}
"""Settings -> the name that torchelastic has for them outside of its own scheme."""

VARIABLES: Mapping[str, str] = {
    "TORCH_ELASTIC_EXIT_BARRIER_TIMEOUT": (
        "as `ELAUNCH_EXIT_BARRIER_TIMEOUT`, which wins"
    ),
    "LOGLEVEL": (
        "level of what the agent logs, for example INFO; `--verbose` and `--quiet` win"
    ),
    "PYTHON_EXEC": "interpreter of scripts and modules, but for `--run-path`",
}
"""What else the command line alone reads -> meaning."""

SEPARATED = frozenset({"env", "monitor", "preflight", "event_recorder", "on_failure"})
"""Settings given several times, whose values may hold commas: ``;`` is between them."""

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})


def names_of(setting: str) -> tuple[str, ...]:
    """Return the variables that give a setting; the first that is set counts."""
    names = [f"ELAUNCH_{setting.upper()}"]
    if setting in TORCHRUNS:
        names.append(f"PET_{setting.upper()}")
    if setting in OTHERS:
        names.append(OTHERS[setting])
    return tuple(names)


def texts_of(setting: str, text: str) -> tuple[str, ...]:
    """Return what a variable says, in the way in which its flag would be given."""
    return _parts(text) if setting in SEPARATED else (text,)


def read(action: argparse.Action, texts: Sequence[str], source: str) -> object:
    """Return the value that texts give a setting, as if each stood behind its flag.

    Args:
        action: The flag.
        texts: What the variable or the file holds.
        source: Which variable, or which file and key, for messages.

    Raises:
        UsageError: If the flag would not take it either.
    """
    if isinstance(action.default, list):
        return [text for text in texts if text.strip()]
    (text,) = texts
    return _truth(text, source) if action.nargs == 0 else _single(action, text, source)


def _single(action: argparse.Action, text: str, source: str) -> object:
    convert = action.type if callable(action.type) else str
    try:
        value: object = convert(text)
    except (TypeError, ValueError):
        kind = getattr(convert, "__name__", str(convert))
        raise UsageError(
            f"{source} is of type {kind}, as {flag_of(action)} is, not {text!r}; "
            f"correct it, or take it away"
        ) from None
    if action.choices is not None and value not in action.choices:
        raise UsageError(
            f"{source} must be one of {quoted(action.choices)}, not {text!r}"
            f"{suggestion(text, action.choices)}"
        )
    return value


def _truth(text: str, source: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    try:
        return bool(int(word))
    except ValueError:
        raise UsageError(
            f"{source} is 1 or 0, true or false, yes or no, not {text!r}; correct it, "
            f"or take it away"
        ) from None


def _parts(text: str) -> tuple[str, ...]:
    """Read values separated by semicolons; one within a value is written twice."""
    parts = text.replace(";;", "\0").split(";")
    return tuple(part.replace("\0", ";").strip() for part in parts)
