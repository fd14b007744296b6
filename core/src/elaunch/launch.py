"""``python -m elaunch.launch``: as ``torch.distributed.launch``, deprecated like that.

Its scripts are given their local rank as an argument.
"""

import sys
from collections.abc import Sequence

from elaunch import cli


PROG = "python -m elaunch.launch"


def main(args: Sequence[str] | None = None) -> int:
    """Run ``elaunch run`` with ``--use-env`` and return its exit status.

    Args:
        args: Its arguments; by default those of this process.
    """
    words = sys.argv[1:] if args is None else args
    return cli.run_as(PROG, words, legacy=True)


if __name__ == "__main__":
    sys.exit(main())
