"""Where servers keep their data, and for how long: they and it have one end."""

import shutil
import tempfile
from pathlib import Path

from elaunch.api import UsageError
from elaunch_rdzv_etcd.local.guard import Guard


class Home:
    """A directory for servers, which it removes at `close` if nobody named it.

    Args:
        named: The directory that the caller wants to keep, or `None`.
    """

    def __init__(self, named: Path | None) -> None:
        self.kept = named is not None
        self._directory = named
        self._guard: Guard | None = None

    @property
    def directory(self) -> Path:
        """Where the data is, while it is open."""
        assert self._directory is not None  # noqa: S101 - `open` made it
        return self._directory

    @property
    def group(self) -> int:
        """The process group of what lives here, while it is open."""
        assert self._guard is not None  # noqa: S101 - `open` made it
        return self._guard.group

    def open(self) -> None:
        """Make the directory.

        Raises:
            UsageError: If that can't be done, or nothing can be written there.
        """
        if self._guard is not None:
            return
        if self._directory is None:
            self._directory = _made()
            self._guard = Guard(self._directory)
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self._directory).close()
        except OSError as error:
            raise UsageError(
                f"the data directory {str(self._directory)!r} can't be used: {error}; "
                f"give one that can be written"
            ) from error
        self._guard = Guard()

    def close(self) -> None:
        """Kill what still lives here, and remove the directory unless it is kept."""
        if self._guard is None:
            return
        self._guard.close()
        self._guard = None
        if not self.kept:
            shutil.rmtree(self.directory, ignore_errors=True)
            self._directory = None


def _made() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="elaunch-etcd-"))
    except OSError as error:
        raise UsageError(
            f"no temporary directory can be made: {error}; name one that can be "
            f"written in TMPDIR, or give a data directory"
        ) from error
