"""What all recorders have in common: they can be closed, once and for all."""

import attrs


@attrs.define(eq=False)
class Closing:
    """A recorder that refuses events after its end."""

    _closed: bool = attrs.field(default=False, init=False)

    def check_open(self) -> None:
        """Refuse to go on after `close`.

        Raises:
            ValueError: If the recorder is closed.
        """
        if self._closed:
            raise ValueError("the event recorder is closed; record before closing it")

    def close(self) -> None:
        """Accept no more events. Twice is fine."""
        self._closed = True
