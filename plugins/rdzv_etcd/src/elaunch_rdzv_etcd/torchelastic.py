"""`EtcdServer` with the methods that users of torchelastic know."""

from typing import TYPE_CHECKING

from elaunch_rdzv_etcd import server


if TYPE_CHECKING:
    from etcd3gw import Etcd3Client


__all__ = ["EtcdServer"]


class EtcdServer(server.EtcdServer):
    """See `elaunch_rdzv_etcd.server.EtcdServer`."""

    def get_host(self) -> str:
        """Return the name or address at which clients reach it."""
        return self.host

    def get_port(self) -> int:
        """Return the port for clients."""
        return self.port

    def get_endpoint(self) -> str:
        """Return ``HOST:PORT`` for clients."""
        return self.endpoint

    def get_client(self) -> "Etcd3Client":
        """Return a client of the v3 API, where torchelastic's is one of the v2 API."""
        return self.client()
