"""An etcd cluster on this host: as many processes as members, with one life."""

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from elaunch_rdzv_etcd.local.home import Home
from elaunch_rdzv_etcd.local.layout import Layout
from elaunch_rdzv_etcd.local.member import (
    EtcdFailed,
    EtcdMember,
    PortTaken,
    wait_until_healthy,
)
from elaunch_rdzv_etcd.local.site import Tls


_LOOK_EVERY = 0.02  # seconds; nothing tells who leads


class EtcdCluster:
    """Members of an etcd cluster on this host, which die with this process.

    All methods block.

    Args:
        data_dir: Directory for data and logs. One that is named is kept; without a
            name there is a fresh one, which `stop` removes.
        size: How many members.
        binary: The etcd program; by default as `find_binary` finds it.
        host: Name or address at which members listen for clients.
        port: Port of the first member; the others have those after it. 0 for any free
            ones, which the members keep over restarts.
        v2: Whether to offer the v2 API, where this etcd has it.
        tls: How clients speak to them; plain HTTP without it.
        flags: Further flags of etcd.
    """

    def __init__(  # noqa: PLR0913 - what one may ask for, by keyword
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        size: int = 3,
        binary: str | os.PathLike[str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        v2: bool = True,
        tls: Tls | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self.members: tuple[EtcdMember, ...] = ()
        """The members, from the first start on."""
        self._home = Home(None if data_dir is None else Path(data_dir).absolute())
        self._layout = Layout(size, binary, host, port, v2, tls, tuple(flags))

    @property
    def endpoints(self) -> str:
        """``HOST:PORT,...`` of all members."""
        return ",".join(member.endpoint for member in self.members)

    def start(self, timeout: float = 60.0, num_retries: int = 3) -> None:
        """Start those members that don't run, and wait until all serve.

        Args:
            timeout: Seconds to wait.
            num_retries: How often to try where another process takes the port.

        Raises:
            EtcdFailed: If one ended, or they don't serve in time.
            UsageError: If there is no etcd, or it can't be started like this.
        """
        for _ in range(num_retries - 1):
            with contextlib.suppress(PortTaken):
                self._start_once(timeout)
                return
        self._start_once(timeout)

    def stop(self) -> None:
        """End all members, and remove the directory unless it was named."""
        self.stop_all()
        if not self._home.kept:
            self.members = ()
        self._home.close()

    def start_all(self, timeout: float = 60.0) -> None:
        """Start those members that don't run on their data; wait until all serve.

        Raises:
            EtcdFailed: If one ended, or they don't serve in time.
        """
        for member in self.members:
            member.spawn()
        wait_until_healthy(self.members, timeout)

    def stop_all(self) -> None:
        """End all members at once, as a power failure would; their data stays."""
        # A leader that is asked to end looks for another one for five seconds, in
        # vain, and etcd loses nothing when it is killed.
        for member in self.members:
            member.kill()

    def leader(self, timeout: float = 30.0) -> int:
        """Wait until a member leads; return its index.

        Raises:
            EtcdFailed: If none does within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            told = {i: s for i, m in enumerate(self.members) if (s := m.status())}
            # One that was paused may still believe in an older election.
            newest = max(told.values(), key=lambda s: s.term, default=None)
            for index, status in told.items():
                if newest and status.member == newest.leader:
                    return index
            time.sleep(_LOOK_EVERY)
        raise EtcdFailed(f"none of '{self.endpoints}' leads after {timeout:g} s")

    def _start_once(self, timeout: float) -> None:
        self._home.open()
        is_new = not self.members
        with contextlib.ExitStack() as undo:
            undo.callback(self._home.close)
            if is_new:
                self.members = self._layout.members(self._home)
                undo.callback(self._forget)
            undo.callback(self.stop_all)
            self.start_all(timeout)
            self._layout.keep(self._home, self.members)
            undo.pop_all()

    def _forget(self) -> None:
        self._layout.discard(self._home, self.members)
        self.members = ()

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
