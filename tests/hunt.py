"""``python tests/hunt.py SEEDS``: run simulated jobs until one breaks a law.

`python -m elaunch.testing.simulation` runs all and shrinks the story of what it finds;
to know whether a fault is noticed at all, the first broken law is enough.
"""

import sys

from elaunch.testing.simulation import FAMILIES, generate, run


def main(seeds: int) -> int:
    """Return 1 if a law was broken, and say in which job."""
    families = tuple(FAMILIES)
    for number in range(seeds):
        seed, family = divmod(number, len(families))
        report = run(generate(families[family], seed))
        if report.broken:
            print(f"{families[family]} {seed}: {report.broken[0]}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
