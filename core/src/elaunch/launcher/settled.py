"""A configuration, with what it may leave open filled in."""

import os
import re

from elaunch.config import LaunchConfig
from elaunch.errors import UsageError
from elaunch.failure_file import file_beside_logs, temporary_file
from elaunch.log_layout import run_name


_RUN_ID = re.compile(r"[^/\x00-\x1f]{1,200}")


def settled(config: LaunchConfig) -> LaunchConfig:
    """Fill in what a job of one node may leave open.

    Raises:
        UsageError: If the run id can't be one.
    """
    run_id = config.run_id or os.urandom(8).hex()
    if not _RUN_ID.fullmatch(run_id):
        raise UsageError(
            f"the run id must be 1 to 200 characters without '/', not {run_id!r}"
        )
    endpoint = config.rdzv_endpoint or "localhost:0"
    report = config.failure_file
    if not report and config.log_dir not in ("", os.devnull):
        report = file_beside_logs(config.log_dir, run_name(run_id, endpoint))
    return config.evolve(
        run_id=run_id,
        rdzv_endpoint=endpoint,
        failure_file=report or temporary_file(),
    )
