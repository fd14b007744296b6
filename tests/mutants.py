"""The mutants: faults that the suites must notice. ``python tests/mutants.py``."""

import sys

from mutants_decided import DECIDED
from mutants_performed import PERFORMED
from mutation import main


MUTANTS = (*DECIDED, *PERFORMED)


if __name__ == "__main__":
    sys.exit(main(MUTANTS))
