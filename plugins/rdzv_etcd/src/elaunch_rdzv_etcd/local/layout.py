"""How members of a cluster are laid out: their ports, directories and command lines."""

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import attrs

from elaunch.api import UsageError
from elaunch_rdzv_etcd.local import peer_ports
from elaunch_rdzv_etcd.local.binary import find_binary, flags_of
from elaunch_rdzv_etcd.local.home import Home
from elaunch_rdzv_etcd.local.member import EtcdMember
from elaunch_rdzv_etcd.local.site import LOOPBACK, Host, Site, Tls, free_ports


_MAX_PORT = 65_535


@attrs.frozen
class Layout:
    """What was asked for; see `EtcdCluster`."""

    size: int
    binary: str | os.PathLike[str] | None
    host: str
    port: int
    v2: bool
    tls: Tls | None
    flags: Sequence[str]

    def __attrs_post_init__(self) -> None:
        if self.size < 1:
            raise UsageError(f"a cluster has at least one member, not {self.size}")
        if not 0 <= self.port <= _MAX_PORT - self.size + 1:
            raise UsageError(
                f"{self.port} is no port for {self.size} members; "
                f"give the first of them, up to {_MAX_PORT}, or 0 for any free ones"
            )

    def members(self, home: Home) -> tuple[EtcdMember, ...]:
        """Return the members, on ports that are free now.

        Raises:
            UsageError: If there is no etcd, or no such address, or the directory holds
                the data of another cluster, or a certificate can't be used.
        """
        if self.tls:
            self.tls.context()  # etcd itself does not say of a key what it lacks
        if self.size == 1 and peer_ports.are_kept(home.directory):
            raise UsageError(
                f"the directory {str(home.directory)!r} holds a cluster of several "
                f"members; give the same number"
            )
        binary = find_binary(self.binary)
        shared = [*self._flags(binary, kept=home.kept), *self.flags]
        sites = self._sites(home)
        peers = ",".join(f"{_name(i)}={s.peer_url}" for i, s in enumerate(sites))
        return tuple(
            EtcdMember(
                site=site,
                directory=self._directory(home, index),
                home=home,
                command=[
                    *(binary, "--name", _name(index)),
                    *("--data-dir", str(self._directory(home, index))),
                    *("--initial-cluster", peers),
                    *site.flags,
                    *shared,
                ],
            )
            for index, site in enumerate(sites)
        )

    def _flags(self, binary: str, *, kept: bool) -> list[str]:
        known = flags_of(binary)
        # Clusters of two owners may get the same ports, one after the other.
        flags = ["--initial-cluster-token", secrets.token_hex(8)]
        if "--enable-v2" in known:
            flags.append(f"--enable-v2={str(self.v2).lower()}")
        if not kept and "--unsafe-no-fsync" in known:
            flags.append("--unsafe-no-fsync")  # only a crash of the host loses anything
        return flags

    def _directory(self, home: Home, index: int) -> Path:
        return home.directory if self.size == 1 else home.directory / _name(index)

    def _sites(self, home: Home) -> list[Site]:
        host = Host.parse(self.host)
        count = self.size
        free = free_ports([host] * count + [LOOPBACK] * count)
        mine = range(self.port, self.port + count) if self.port else free[:count]
        peers = self._peer_ports(home, free[count:])
        return [
            Site(host, port, peer_port, self.tls)
            for port, peer_port in zip(mine, peers, strict=True)
        ]

    def _peer_ports(self, home: Home, free: list[int]) -> list[int]:
        """Return where members meet: their data names these ports for ever."""
        if self.size == 1 or not home.kept:
            return free
        if not peer_ports.are_kept(home.directory):
            if any(home.directory.iterdir()):
                raise UsageError(
                    f"the directory {str(home.directory)!r} holds something else than "
                    f"a cluster of {self.size} members; give one that is empty"
                )
            return free
        ports = peer_ports.read(home.directory)
        if len(ports) != self.size:
            raise UsageError(
                f"the directory {str(home.directory)!r} holds a cluster of "
                f"{len(ports)} members, not of {self.size}; give the same number"
            )
        return ports

    def keep(self, home: Home, members: Sequence[EtcdMember]) -> None:
        """Remember what the members must find again, as they have served now."""
        if self.size > 1 and home.kept:
            ports = [member.site.peer_port for member in members]
            peer_ports.write(home.directory, ports)

    def discard(self, home: Home, members: Sequence[EtcdMember]) -> None:
        """Remove what members have left that never served."""
        if self.size > 1 and not peer_ports.are_kept(home.directory):
            for member in members:
                shutil.rmtree(member.directory, ignore_errors=True)


def _name(index: int) -> str:
    return f"member{index}"
