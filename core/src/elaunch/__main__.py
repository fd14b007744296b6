"""``python -m elaunch``."""

import sys

from elaunch.cli import main


if __name__ == "__main__":
    sys.exit(main())
