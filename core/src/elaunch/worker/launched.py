"""Whether this process is a worker at all."""

import os


def is_torchelastic_launched() -> bool:
    """Return whether a launcher started this process: elaunch, or torchrun.

    torch's function of this name says the same.
    """
    return "TORCHELASTIC_RUN_ID" in os.environ
