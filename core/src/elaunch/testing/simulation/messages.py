"""What the simulated store and its clients say to each other."""

from typing import Any

import attrs

from elaunch.api import StoreEvent


@attrs.frozen
class Hello:
    """Opens a session, or goes on with the one of this number."""

    session: int
    grace: float


@attrs.frozen
class Welcome:
    """Answers `Hello`: the session, whether it is the old one, and which store."""

    session: int
    resumed: bool
    store: int


@attrs.frozen
class Request:
    """One operation of the keyspace; a repetition has the same number."""

    number: int
    operation: str
    arguments: tuple[Any, ...]


@attrs.frozen
class Answer:
    """What came of a request, or why it was refused."""

    number: int
    result: Any
    refused: str


@attrs.frozen
class Watch:
    """Subscribes to a prefix."""

    number: int
    prefix: str
    since: int


@attrs.frozen
class Unwatch:
    """Ends a subscription."""

    number: int


@attrs.frozen
class Changed:
    """One change under a watched prefix."""

    number: int
    event: StoreEvent


@attrs.frozen
class Compacted:
    """The watch can't begin where it asked to."""

    number: int
