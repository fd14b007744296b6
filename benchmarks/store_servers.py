"""TCPStore servers to compare, each in a process of its own; used by store.py.

Run as a script it is such a process: it prints its port, and ends with its input.
"""

import asyncio
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import attrs

from elaunch_rdzv_c10d.addresses import BACKLOG
from elaunch_rdzv_c10d.thread_host import ThreadedServer


HOST = "127.0.0.1"

TORCH = "torch"
ASYNCIO = "asyncio"
UVLOOP = "uvloop"

_END_TIMEOUT = 10.0


@attrs.define
class Server:
    """A server that runs; a context manager that ends it.

    Attributes:
        kind: Which server it is.
        port: Where it is.
    """

    kind: str
    port: int
    _process: "subprocess.Popen[str]"

    @classmethod
    def start(cls, kind: str) -> Self:
        """Start a server and wait until it listens."""
        process = subprocess.Popen(
            [sys.executable, __file__, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            process.wait(_END_TIMEOUT)
            raise RuntimeError(f"the {kind} server failed; its output is above")
        return cls(kind, int(line), process)

    def processor_time(self) -> float:
        """Return the seconds that all its threads have computed."""
        # clock_getcpuclockid(3), which Python lacks; /proc counts in hundredths only.
        return time.clock_gettime(~self._process.pid << 3 | 2)

    def resident(self) -> int:
        """Return the bytes of memory that it holds."""
        statm = Path(f"/proc/{self._process.pid}/statm").read_text()
        return int(statm.split()[1]) * resource.getpagesize()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=_END_TIMEOUT)


def _torch() -> None:
    from torch.distributed import TCPStore

    # At an address without IPv6: torch's server looks up the name of each client, and
    # a mapped address is in no hosts file, so that we would measure a name server.
    listener = socket.create_server((HOST, 0), backlog=BACKLOG)
    store = TCPStore(
        HOST,
        listener.getsockname()[1],
        is_master=True,
        wait_for_workers=False,
        use_libuv=True,
        master_listen_fd=listener.detach(),
    )
    print(store.port, flush=True)
    sys.stdin.read()


def _asyncio() -> None:
    sys.modules["uvloop"] = None  # type: ignore[assignment] # so it can't be imported
    _uvloop()


def _uvloop() -> None:
    asyncio.run(_ours())  # whose thread takes uvloop if it can


async def _ours() -> None:
    server = ThreadedServer(control=False)
    _, port = await server.start(HOST, 0)
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


_KINDS: dict[str, Callable[[], None]] = {
    TORCH: _torch,
    ASYNCIO: _asyncio,
    UVLOOP: _uvloop,
}


if __name__ == "__main__":
    _KINDS[sys.argv[1]]()
