"""What Linux knows of its clock: ``adjtimex``, which is asked to change nothing."""

import ctypes
import sys

import attrs


_UNSYNCHRONISED = 5  # TIME_ERROR
_STATUS_UNSYNCHRONISED = 0x0040  # STA_UNSYNC


class _Timex(ctypes.Structure):
    """``struct timex`` where a long has 64 bits."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("rest", ctypes.c_byte * 256),  # more than there is
    )


@attrs.frozen
class KernelClock:
    """What the kernel knows.

    Attributes:
        synchronised: Whether a service keeps the clock.
        max_error: Seconds by which it may be wrong.
    """

    synchronised: bool
    max_error: float


def kernel_clock() -> KernelClock | None:
    """Return what this system's kernel knows; `None` if it does not tell."""
    if sys.platform != "linux" or ctypes.sizeof(ctypes.c_long) != 8:  # noqa: PLR2004 - bytes
        return None
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    known = _Timex()  # of which ``modes`` says that nothing is to be set
    state = adjtimex(ctypes.byref(known))
    if state < 0:
        return None
    unsynchronised = state == _UNSYNCHRONISED or known.status & _STATUS_UNSYNCHRONISED
    return KernelClock(not unsynchronised, known.maxerror / 1e6)
