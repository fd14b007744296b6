"""What a worker's first three descriptors are to be."""

import os

import attrs


@attrs.frozen
class Stdio:
    """Descriptors of this process that a worker gets as its own 0, 1 and 2.

    Attributes:
        stdin: What it reads.
        stdout: Where its output goes.
        stderr: Where its errors go.
        terminal: Whether they are a terminal whose signals the worker gets.
    """

    stdin: int
    stdout: int
    stderr: int
    terminal: bool = False

    @property
    def descriptors(self) -> tuple[int, int, int]:
        """All three, in order."""
        return self.stdin, self.stdout, self.stderr

    def close(self) -> None:
        """Close them here; the worker has its own by then."""
        for descriptor in set(self.descriptors):
            os.close(descriptor)
