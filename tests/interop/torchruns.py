"""Torchruns that share one import of torch: each is forked from a process that has it.

Everything after the import is as with ``python -m torch.distributed.run``: its module
is the main one, and words, environment, folder, streams and the interpreter's end are
its own. The import is nine tenths of what a torchrun costs.
"""

import json
import multiprocessing.process
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import attrs


MODULE = "torch.distributed.run"
_LONGEST = 1 << 17  # bytes of a request


@attrs.define
class Torchrun:
    """One of them, for the process that asked for it.

    Attributes:
        returncode: Its exit status, negative for a signal, once it has ended.
    """

    _connection: socket.socket
    returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            self.returncode = int(self._connection.recv(_LONGEST))
            self._connection.close()
        return self.returncode

    def kill(self) -> None:
        """End it, unless it has ended."""
        if self.returncode is None:
            self._connection.shutdown(socket.SHUT_WR)


@attrs.define
class Torchruns:
    """The process that has torch, as a context.

    Attributes:
        env: Its environment, to which each adds its own.
    """

    env: Mapping[str, str]
    _process: subprocess.Popen[bytes] = attrs.field(init=False)
    _requests: socket.socket = attrs.field(init=False)

    def __enter__(self) -> Self:
        self._requests, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET
        )
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._requests.close()
        self._process.wait()

    def start(
        self,
        words: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        stdin: IO[str],
        output: IO[str],
    ) -> Torchrun:
        """Start one with these arguments; its standard error is its output."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = json.dumps({"words": words, "cwd": str(cwd), "env": env})
        files = [theirs.fileno(), stdin.fileno(), output.fileno()]
        with theirs:
            socket.send_fds(self._requests, [request.encode()], files)
        return Torchrun(ours)


def main(requests: socket.socket) -> None:
    """Fork one for each request, until nobody can ask any more."""
    __import__(MODULE)
    del sys.modules[MODULE]  # each runs it as its main module
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that none is left a zombie
    while True:
        request, files, *_ = socket.recv_fds(requests, _LONGEST, 3)
        if not request:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            with socket.socket(fileno=files[0]) as connection:
                pid = os.fork()
                if pid:
                    _attend(pid, connection)
            _become(json.loads(request), *files[1:])
            return
        for file in files:
            os.close(file)


def _attend(pid: int, connection: socket.socket) -> None:
    """Tell how it ended; kill it when nobody wants to know any more."""
    end = os.pidfd_open(pid)
    ready, _, _ = select.select([end, connection.fileno()], [], [])
    if end not in ready:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    connection.send(str(status).encode())
    os._exit(0)


def _become(request: Mapping[str, Any], stdin: int, output: int) -> None:
    """Go on as the interpreter does that was started with this request."""
    for given, standard in ((stdin, 0), (output, 1), (output, 2)):
        os.dup2(given, standard)
    os.close(stdin)
    os.close(output)
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.path[0] = request["cwd"]
    # Where it spawns workers, it tells them that.
    vars(multiprocessing.process)["ORIGINAL_DIR"] = request["cwd"]
    sys.argv[1:] = request["words"]
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
