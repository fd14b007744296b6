"""A recorder whose events are written by a thread: a slow disk holds up no agent."""

import atexit
import logging
import os
import threading
import time
from collections import deque
from typing import Protocol

import attrs

from elaunch.api import Event, EventName, Source


logger = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds after which events that could not be written are tried again: nothing tells
of a disk that has room again."""

CLOSE_PATIENCE = 5.0
"""Seconds that the end of an agent waits while none of its last events is written."""

CLOSE_LIMIT = 30.0
"""Seconds that it waits at most, also while they are written one by one."""


class Sink(Protocol):
    """Where the events of a recorder go; used by one thread."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def written(self) -> int:
        """How much was written since the beginning: it grows while the rest may be."""

    def put(self, event: Event) -> None:
        """Take an event, to be written by the next `flush`."""

    def flush(self) -> None:
        """Write what was put and is not written yet.

        Raises:
            OSError: If it can't be written now. What is not written is kept.
        """

    def close(self) -> None:
        """Release everything."""


@attrs.define(eq=False)
class BackgroundRecorder:
    """Hands events to a sink, from a thread that starts with the first one.

    Attributes:
        sink: Where they go.
        limit: How many may wait to be written. What does not fit is lost, and an event
            in its place tells how many.
        linger: Seconds that events may wait for others to be written with.
    """

    sink: Sink
    limit: int
    linger: float = 0.0
    _waiting: deque[Event] = attrs.field(factory=deque, init=False)
    _changed: threading.Condition = attrs.field(factory=threading.Condition, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _fault: Exception | None = attrs.field(default=None, init=False)

    def record(self, event: Event) -> None:
        """Accept an event.

        Raises:
            ValueError: If the recorder is closed.
            RuntimeError: If the sink has failed for good.
        """
        with self._changed:
            if self._closed:
                raise ValueError(
                    "the event recorder is closed; record before closing it"
                )
            if self._fault:
                raise RuntimeError(f"{self.sink.name} failed") from self._fault
            if len(self._waiting) < self.limit:
                self._waiting.append(event)
            else:
                self._lose(event)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write, name="elaunch-events", daemon=True
                )
                self._thread.start()
                # The agent may be in a thread that ends with the interpreter.
                atexit.register(self._close_at_exit, os.getpid())
            self._changed.notify()

    def close(self) -> None:
        """Write what was accepted. Twice is fine."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify()
        atexit.unregister(self._close_at_exit)
        if self._thread is None:
            self.sink.close()
            return
        began, written = time.monotonic(), -1
        while self._thread.is_alive():
            before, written = written, self.sink.written
            took = time.monotonic() - began
            if written == before or took >= CLOSE_LIMIT:
                logger.error(
                    "%s did not take the last events within %.3g s; they may be lost",
                    self.sink.name,
                    took,
                )
                return
            self._thread.join(CLOSE_PATIENCE)

    def _close_at_exit(self, owner: int) -> None:
        if os.getpid() == owner:  # and no copy of it, which has no thread
            self.close()

    def _lose(self, event: Event) -> None:
        """Note in the place of an event that it is lost, with those before it."""
        last = self._waiting[-1] if self._waiting else event
        count, first = 1, event.sequence
        if last.name == EventName.EVENTS_LOST:
            count += int(str(last.metadata["count"]))
            first = int(str(last.metadata["first"]))
            self._waiting.pop()
        facts = {"count": count, "first": first, "last": event.sequence}
        self._waiting.append(
            attrs.evolve(
                event, name=EventName.EVENTS_LOST, source=Source.AGENT, metadata=facts
            )
        )

    def _write(self) -> None:
        try:
            self._write_all()
        except Exception as error:
            self._fault = error
            logger.exception("%s failed", self.sink.name)
        finally:
            self.sink.close()

    def _write_all(self) -> None:
        failing = False
        while True:
            # While nothing can be written the rest waits where it is counted.
            events, closing = ([], self._pause()) if failing else self._next()
            try:
                for event in events:
                    self.sink.put(event)
                self.sink.flush()
            except OSError as error:
                if closing:
                    self._give_up(error)
                    return
                self._complain(error, again=failing)
                failing = True
                continue
            if failing:
                logger.warning("events are written to %s again", self.sink.name)
            elif closing:
                return
            failing = False

    def _next(self) -> tuple[list[Event], bool]:
        """Wait for events; return them, and whether they are the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self.linger:
                self._changed.wait_for(lambda: self._closed, self.linger)
            events = list(self._waiting)
            self._waiting.clear()
            return events, self._closed

    def _pause(self) -> bool:
        """Wait until it may be possible again; return whether it is the last try."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, RETRY)

    def _complain(self, error: OSError, *, again: bool) -> None:
        if not again:
            logger.error(
                "can't write events to %s: %s; the job goes on, and they are written "
                "as soon as that is possible",
                self.sink.name,
                error.strerror or error,
            )

    def _give_up(self, error: OSError) -> None:
        logger.error(
            "%s lacks the last events: %s", self.sink.name, error.strerror or error
        )
