"""The check ``disk``: a directory is there, has room, and can be written to."""

import os
import tempfile
from pathlib import Path

import attrs

from elaunch.api import BlockingCall, PreflightContext, PreflightResult
from elaunch.events import Value
from elaunch.preflights.options import DiskOptions
from elaunch.sizes import readable, size_of


_PROBE = b"elaunch preflight\n" * 256
"""What is written: more than what a file system keeps in an inode."""


@attrs.define(eq=False)
class Disk:
    """Looks at one directory.

    Attributes:
        options: What is asked of it.
        default: Directory where the options name none; it may be made later.
    """

    options: DiskOptions
    default: str = ""
    _look: BlockingCall[PreflightResult] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._look = BlockingCall(self._looked)

    async def check(self, _: PreflightContext) -> PreflightResult:
        """Look at it in a thread: a server of files that is gone answers nobody."""
        return await self._look()

    def _looked(self) -> PreflightResult:
        named = self.options.path
        path = Path(named or self.default or tempfile.gettempdir()).absolute()
        there = path if named else _nearest(path)
        facts: dict[str, Value] = {"path": str(path)}
        try:
            problem = self._problem(there, facts)
        except OSError as error:
            why = error.strerror or type(error).__name__
            problem = f"{str(path)!r} can't be used: {why}"
        return PreflightResult(problem=problem, facts=facts)

    def _problem(self, path: Path, facts: dict[str, Value]) -> str:
        options = self.options
        known = os.statvfs(path)
        free, wanted = known.f_bavail * known.f_frsize, size_of(options.free)
        facts["free"] = free
        if free < wanted:
            return (
                f"{str(path)!r} has {readable(free)} free, and {readable(wanted)} are "
                f"asked for"
            )
        if known.f_files:  # some file systems have no limit, and count none
            facts["inodes"] = known.f_favail
            if known.f_favail < options.inodes:
                return (
                    f"{str(path)!r} has room for {known.f_favail} more files, and "
                    f"{options.inodes} are asked for"
                )
        if options.write:
            with tempfile.TemporaryFile(dir=path) as file:
                file.write(_PROBE)
                file.flush()
                os.fsync(file.fileno())
        elif not path.is_dir():
            return f"{str(path)!r} is no directory"
        return ""


def _nearest(path: Path) -> Path:
    """Return the path, or the first above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())
