"""``python -m elaunch.run``: ``elaunch run``, where ``torch.distributed.run`` stood."""

import sys
from collections.abc import Sequence

from elaunch import cli


def main(args: Sequence[str] | None = None) -> int:
    """Run ``elaunch run`` and return its exit status.

    Args:
        args: What follows ``run``; by default the arguments of this process.
    """
    if args is None:
        return cli.run_as("python -m elaunch.run", sys.argv[1:])
    return cli.main(["run", *args])


if __name__ == "__main__":
    sys.exit(main())
