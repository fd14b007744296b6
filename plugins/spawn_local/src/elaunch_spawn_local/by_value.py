"""Pickling functions by value, with the names of the files that they are from.

cloudpickle leaves the file name of code out, so that equal functions give equal
pickles. A failure report without it can't say where the exception was raised.
"""

import io
import types
from collections import ChainMap
from collections.abc import Callable
from typing import Any, ClassVar

import cloudpickle


def dumps(value: object) -> bytes:
    """Return a pickle from which any process can read the value back."""
    file = io.BytesIO()
    _Pickler(file).dump(value)
    return file.getvalue()


def _reduce_code(code: types.CodeType) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    make, facts = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return named, (code.co_filename, make, facts)


def named(
    filename: str, make: Callable[..., types.CodeType], facts: tuple[Any, ...]
) -> types.CodeType:
    """Make code as cloudpickle does, and give it its file name back."""
    return make(*facts).replace(co_filename=filename)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # it has no annotations
    dispatch_table: ClassVar[ChainMap[type, Any]] = ChainMap(
        {types.CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table
    )
