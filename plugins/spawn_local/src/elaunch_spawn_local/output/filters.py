"""Lines with certain words in them, written to a file of their own too."""

import logging
import os
from collections.abc import Sequence

import attrs


logger = logging.getLogger(__name__)


@attrs.define(eq=False)
class LineFilter:
    """Keeps the lines that contain one of some texts.

    Args:
        path: The file, which is continued where it exists.
        needles: The texts.

    Raises:
        OSError: If the file can't be opened.
    """

    path: str
    _needles: tuple[bytes, ...]
    _fd: int = attrs.field(init=False)
    _broken: bool = attrs.field(default=False, init=False)

    @_fd.default
    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self.path, flags, 0o666)

    @classmethod
    def of(cls, path: str, needles: Sequence[str]) -> "LineFilter":
        """Open a filter for texts."""
        encoded = (needle.encode(errors="surrogateescape") for needle in needles)
        return cls(path, tuple(encoded))

    def write(self, lines: bytes, prefix: bytes) -> None:
        """Write those of a block of whole lines that are wanted."""
        # Most blocks have none: then no line is looked at.
        if not any(needle in lines for needle in self._needles):
            return
        kept = b"".join(
            b"%b%b\n" % (prefix, line)
            for line in lines.removesuffix(b"\n").split(b"\n")
            if any(needle in line for needle in self._needles)
        )
        try:
            view = memoryview(kept)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            if not self._broken:
                self._broken = True
                logger.warning(
                    "can't write to %s: %s; lines are lost", self.path, error
                )

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
