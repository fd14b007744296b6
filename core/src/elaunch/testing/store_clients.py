"""What tests of stores share: clients of one store, and the next event of a watch."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from elaunch.api import Store, StoreEvent


NewStore = Callable[[], Awaitable[Store]]
"""Gives another client of the store under test each time it is called."""

SOON = 60.0
"""Seconds after which a test gives up on an event that should come at once."""


async def next_event(events: AsyncGenerator[StoreEvent, None]) -> StoreEvent:
    """Wait for the next event of a watch."""
    async with asyncio.timeout(SOON):
        return await anext(events)


class StoreFixtures:
    """What the parts of the store contract have in common."""

    min_lease_ttl: float = 1.0
    tells_every_change: bool = True

    if TYPE_CHECKING:
        new_store: Any  # a fixture of any kind overrides it
    else:

        @pytest.fixture
        def new_store(self):  # noqa: ANN201 - see above
            """Return what makes independent clients of one store; must be overridden.

            The store starts empty, and the tests close the clients.
            """
            raise NotImplementedError("override the fixture 'new_store'")

    async def silence(self, store: Store) -> None:  # noqa: ARG002 - for those that can
        """Make a client renew nothing any more, as if it were dead; may be overridden.

        The client gets no further use, but is closed at the end.
        """
        pytest.skip("override the method 'silence' to test the death of a client")

    @pytest_asyncio.fixture
    async def client(self, new_store: NewStore) -> AsyncIterator[NewStore]:
        """Like ``new_store``, but closes what it made when the test is over."""
        made: list[Store] = []

        async def make() -> Store:
            made.append(await new_store())
            return made[-1]

        yield make
        for store in made:
            await store.close()
