"""What a forked worker must make new: its parent has got it, and a fork keeps it.

Environment, standard streams, pools of threads and random numbers are to be those of a
fresh interpreter.
"""

import contextlib
import ctypes
import faulthandler
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


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
    for stream in (sys.stdout, sys.stderr):
        # The descriptors are other ones now; a terminal gets its lines at once.
        stream.reconfigure(  # type: ignore[union-attr] # they are still the first ones
            line_buffering=stream.isatty(),
            write_through=bool(environment.get("PYTHONUNBUFFERED")),
        )
    if environment.get("PYTHONFAULTHANDLER"):
        faulthandler.enable(_STDERR)
    _size_pools(environment)
    _seed()


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
