"""One stream of one worker: what becomes of the bytes it brings."""

import datetime as dt
import time
from typing import TYPE_CHECKING

import attrs

from elaunch_spawn_local.output.console import Console
from elaunch_spawn_local.output.lines import ThrottledLines, WholeLines
from elaunch_spawn_local.output.tail import Tail


if TYPE_CHECKING:  # few jobs have either
    from elaunch_spawn_local.output.filters import LineFilter
    from elaunch_spawn_local.output.tap import Tap


STAMP_LENGTH = len("2026-01-31T12:34:56.789Z ")


def stamp() -> bytes:
    """Return the time, as it begins a line."""
    now = dt.datetime.now(dt.UTC)
    return f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03}Z ".encode()


@attrs.define(eq=False, repr=False, kw_only=True)
class Stream:
    """Carries what a stream brings to console and filter, into a tail and to a tap.

    Attributes:
        console: Where lines are shown; `None` for nowhere.
        label: What each line begins with.
        timestamps: Whether the time follows that.
        filter: What keeps chosen lines; `None` for nothing.
        tail: What keeps the end; `None` for nothing.
        tap: What tells it as it comes; `None` for nothing.
        raw: Whether the bytes are passed on as they come, since they are nobody
            else's: a terminal is at either end, or there is one worker.
    """

    console: Console | None
    label: bytes = b""
    timestamps: bool = False
    filter: "LineFilter | None" = None
    tail: Tail | None = None
    tap: "Tap | None" = None
    raw: bool = False
    _whole: WholeLines = attrs.field(factory=WholeLines, init=False)
    _throttled: ThrottledLines | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        shared = bool(self.label or self.timestamps)
        self._throttled = ThrottledLines() if shared else None

    @property
    def due(self) -> float | None:
        """When `tick` is to be called; `None` for never."""
        return self._throttled.due if self._throttled else None

    def take(self, data: bytes) -> None:
        """Take some bytes."""
        # These first: they must be there even while the console blocks.
        if self.tail:
            self.tail.take(data)
        if self.tap:
            self.tap.take(data)
        if self.raw and self.console:
            self.console.pass_on(data)
        if not self.filter and (self.raw or not self.console):
            return
        if self._throttled:
            self._put(self._throttled.feed(data, time.monotonic()))
        else:
            self._put(self._whole.feed(data))

    def tick(self, now: float) -> None:
        """Show what was held back, if it is time."""
        if self._throttled:
            self._put(self._throttled.tick(now))

    def finish(self) -> None:
        """Show a last line that has no end."""
        self._put((self._throttled or self._whole).finish())

    def _put(self, lines: bytes) -> None:
        if not lines:
            return
        prefix = self.label + stamp() if self.timestamps else self.label
        if self.filter:
            self.filter.write(lines, prefix)
        if self.console and not self.raw:
            if prefix:
                ended = b"\n" if lines.endswith(b"\n") else b""
                body = lines.removesuffix(b"\n").replace(b"\n", b"\n" + prefix)
                lines = b"".join((prefix, body, ended))
            self.console.write(lines)
