"""What a forked worker must make new: its parent has got it, and a fork keeps it.

Environment, standard streams, pools of threads and random numbers are to be those of a
fresh interpreter.
"""

import contextlib
import ctypes
import faulthandler
import io
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast


_before: list[Any] = []
"""Streams that there were: without a reference they would be flushed and closed."""

_MAPS = Path("/proc/self/maps")
_STDERR = 2

_SIZERS = (
    "openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "scipy_openblas_set_num_threads64_",
)
"""What OpenBLAS calls the function that sizes its pool, by how it was built."""


def refresh(environment: Mapping[str, str]) -> None:
    """Make this process look as if it had started now.

    Args:
        environment: All variables of the worker.
    """
    os.environ.clear()
    os.environ.update(environment)
    _open_streams(unbuffered=bool(environment.get("PYTHONUNBUFFERED")))
    if environment.get("PYTHONFAULTHANDLER"):
        faulthandler.enable(_STDERR)
    _size_pools(environment)
    _seed()


def _open_streams(*, unbuffered: bool) -> None:
    """Make the standard streams anew, on the descriptors that are other ones now.

    Those that there were may be somebody else's: a notebook's, a test's, or none.
    """
    streams = {
        "stdin": open(0, closefd=False),  # noqa: SIM115 - for the whole process
        "stdout": _stream(1, sys.__stdout__, unbuffered=unbuffered),
        "stderr": _stream(_STDERR, sys.__stderr__, unbuffered=unbuffered),
    }
    for name, stream in streams.items():
        _before.append(getattr(sys, name))
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _stream(number: int, first: Any, *, unbuffered: bool) -> io.TextIOWrapper:
    """Open a stream as the interpreter does, which has opened the first one of them."""
    raw = io.FileIO(number, "w", closefd=False)
    return io.TextIOWrapper(
        cast("io.BufferedWriter", raw) if unbuffered else io.BufferedWriter(raw),
        encoding=getattr(first, "encoding", None),
        errors=getattr(first, "errors", None),
        line_buffering=raw.isatty() or number == _STDERR,
        write_through=unbuffered,
    )


def _size_pools(environment: Mapping[str, str]) -> None:
    """Give libraries the threads that they would have taken at import."""
    number = environment.get("OMP_NUM_THREADS", "")
    if not number.isdecimal() or int(number) < 1:
        return
    if torch := _loaded("torch"):
        torch.set_num_threads(int(number))
    if _loaded("numpy"):
        for size in _openblas_sizers():
            size(int(number))


def _seed() -> None:
    """Seed anew where a library drew its seed at import; ``random`` does by itself."""
    if numpy := _loaded("numpy"):
        numpy.random.seed()
    if torch := _loaded("torch"):
        torch.default_generator.seed()


def _loaded(name: str) -> Any:
    return sys.modules.get(name)


def _openblas_sizers() -> Iterator[Any]:
    for path in _libraries("openblas"):
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(path)
            for name in _SIZERS:
                if hasattr(library, name):
                    yield getattr(library, name)


def _libraries(part: str) -> set[str]:
    """Return the files of loaded libraries whose name contains ``part``."""
    try:
        with _MAPS.open() as file:
            mapped = {line.split(maxsplit=5)[-1].strip() for line in file}
    except OSError:
        return set()
    return {path for path in mapped if part in Path(path).name}
