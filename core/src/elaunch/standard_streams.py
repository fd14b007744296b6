"""The standard streams, which a user may have closed (``elaunch run ... >&-``)."""

import os


def open_closed() -> None:
    """Put ``/dev/null`` where one of the descriptors 0 to 2 is closed.

    What is opened next would get its number otherwise, and be taken for the console.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free number is given: this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003 - the name says it
