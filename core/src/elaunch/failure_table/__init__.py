"""What follows from which failure: a table that users extend by ``--on-failure``.

A row is ``WHEN=THEN``, for example ``exit:3,64-78=fail``. `docs/policies.md` tells
them all.
"""

from elaunch.failure_table.kinds import Kind
from elaunch.failure_table.table import (
    FailureMatch,
    FailureRow,
    FailureTable,
    Treatment,
)


__all__ = ["FailureMatch", "FailureRow", "FailureTable", "Kind", "Treatment"]
