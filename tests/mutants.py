"""The mutants: faults that the suites must notice. ``python tests/mutants.py``."""

import sys

from mutants_consequences import CONSEQUENCES
from mutants_decided import DECIDED
from mutants_fit import FIT
from mutants_performed import PERFORMED
from mutants_policy import POLICY
from mutants_told import TOLD
from mutants_watched import WATCHED
from mutation import main


MUTANTS = (*DECIDED, *PERFORMED, *POLICY, *FIT, *WATCHED, *CONSEQUENCES, *TOLD)


if __name__ == "__main__":
    sys.exit(main(MUTANTS))
