"""The backend keeps the contract of a store."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from elaunch_rdzv_sqlite.store import SqliteStore

from elaunch.api import Store
from elaunch.testing import NewStore, StoreContract


class TestSqliteStore(StoreContract):
    """Everything that `StoreContract` demands."""

    @pytest_asyncio.fixture
    async def new_store(self, tmp_path: Path) -> AsyncIterator[NewStore]:
        """Two calls give two clients of one store."""
        clients: list[SqliteStore] = []

        async def connect() -> Store:
            clients.append(SqliteStore(str(tmp_path / "job.db"), 0.01))
            return clients[-1]

        yield connect
        for client in clients:
            await client.close()
