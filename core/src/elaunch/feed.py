"""A feed: what one part of the agent hears and others follow, without knowing it."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import attrs


logger = logging.getLogger(__name__)

T = TypeVar("T")


@attrs.define(eq=False, repr=False)
class Feed(Generic[T]):
    """Tells its listeners each item, in the thread of whoever has it.

    A listener that raises is told nothing more, and the others go on.
    """

    _listeners: tuple[Callable[[T], None], ...] = attrs.field(default=(), init=False)

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return bool(self._listeners)

    def subscribe(self, listener: Callable[[T], None]) -> Callable[[], None]:
        """Tell a listener every item from now on; it must be quick.

        Returns:
            What ends that. Twice is fine.
        """
        self._listeners = (*self._listeners, listener)
        return lambda: self._drop(listener)

    @contextlib.contextmanager
    def told_to(self, listener: Callable[[T], None]) -> Iterator[None]:
        """Tell a listener every item in this block; it must be quick."""
        end = self.subscribe(listener)
        try:
            yield
        finally:
            end()

    def tell(self, item: T) -> None:
        """Tell all listeners."""
        for listener in self._listeners:
            try:
                listener(item)
            except Exception:
                logger.exception("%r failed and hears nothing more", listener)
                self._drop(listener)

    def _drop(self, listener: Callable[[T], None]) -> None:
        self._listeners = tuple(each for each in self._listeners if each != listener)
