"""The backend keeps the contract of a store."""

from pathlib import Path

import pytest
from elaunch_rdzv_sqlite.store import SqliteStore

from elaunch.api import Store
from elaunch.testing import NewStore, StoreContract


class TestSqliteStore(StoreContract):
    """Everything that `StoreContract` demands."""

    min_lease_ttl = 2.0
    tells_every_change = False

    @pytest.fixture
    def new_store(self, tmp_path: Path) -> NewStore:
        """Two calls give two clients of one store."""

        async def connect() -> Store:
            return SqliteStore(str(tmp_path / "job.db"), poll_interval=0.01)

        return connect
