"""One etcd process: started on its data, waited for, signalled, ended."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import attrs

from elaunch.api import RendezvousError, UsageError
from elaunch_rdzv_etcd.local.home import Home
from elaunch_rdzv_etcd.local.site import Site


if TYPE_CHECKING:
    from etcd3gw import Etcd3Client


LOG_TAIL_LINES = 25  # with fewer, a wrong flag is not told apart from its usage
NOBODY = "0"
"""The id of a leader that there is not."""

_LOG = "etcd.log"
_LOOK_EVERY = 0.02  # seconds; nothing tells when etcd is ready
_ANSWERS_WITHIN = 1.0
_STOPS_WITHIN = 5.0
_REQUEST_TIMEOUT = 5.0
_NO_TROUBLE = b'{"level":"info"'
_TAKEN = re.compile(r"listen tcp (\S+): bind: address already in use")


class EtcdFailed(RendezvousError):
    """An etcd process ended by itself, or did not come up."""


class PortTaken(EtcdFailed):
    """Another process has the port where etcd was to listen."""


@attrs.frozen
class Status:
    """What a member says.

    Attributes:
        member: Its own id.
        leader: The id of the member that leads, or `NOBODY`.
        term: Number of the election after which it leads.
    """

    member: str
    leader: str
    term: int


@attrs.define(eq=False, kw_only=True)
class EtcdMember:
    """One etcd process, which may be started again on the same data and ports.

    Attributes:
        site: Where it listens.
        directory: Its data and its log.
    """

    site: Site
    directory: Path
    _command: Sequence[str]
    _home: Home
    _process: "subprocess.Popen[bytes] | None" = None
    _log_start: int = 0

    @property
    def port(self) -> int:
        """Port for clients."""
        return self.site.port

    @property
    def endpoint(self) -> str:
        """``HOST:PORT`` for clients."""
        return self.site.endpoint

    @property
    def pid(self) -> int | None:
        """Id of the process; `None` while there is none."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> Path:
        """Where etcd writes what it has to say."""
        return self.directory / _LOG

    def start(self, timeout: float = 60.0) -> None:
        """Start it and wait until it serves, for which most members must live.

        Raises:
            EtcdFailed: If it ends, or does not serve within ``timeout`` seconds.
        """
        self.spawn()
        wait_until_healthy([self], timeout)

    def spawn(self) -> None:
        """Start it, unless it runs, without waiting for it.

        Raises:
            UsageError: If nothing can be written to its directory.
        """
        if self._process is not None:
            return
        # Variables beginning with ETCD_ are flags of etcd.
        mine = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        with self._opened_log() as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - etcd, and our own flags
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=mine,
                process_group=self._home.group,
            )

    def stop(self) -> None:
        """End it in good order, a leader after it found another; its data stays."""
        self._signal(signal.SIGTERM)
        self.resume()
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOPS_WITHIN)
        self.kill()

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would; its data stays."""
        self._signal(signal.SIGKILL)
        self.wait()
        self._process = None

    def pause(self) -> None:
        """Stop it by SIGSTOP: it keeps its connections and says nothing."""
        self._signal(signal.SIGSTOP)
        if self._process is not None:
            # The signal takes effect at some later time.
            os.waitid(
                os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT
            )

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def wait(self) -> None:
        """Wait for the end of the process, if there is one."""
        if self._process is not None:
            self._process.wait()

    def client(self, timeout: float = _REQUEST_TIMEOUT) -> "Etcd3Client":
        """Return a client of the v3 API, each request of which ends in time."""
        import etcd3gw

        site = self.site
        client = etcd3gw.client(
            host=site.host.here, port=site.port, protocol=site.scheme, timeout=timeout
        )
        client.session.trust_env = False  # no proxy stands before this host
        if site.tls:
            client.session.verify = str(site.tls.ca)
            client.session.cert = (str(site.tls.cert), str(site.tls.key))
        return client

    def status(self) -> Status | None:
        """Return what it says of itself and of who leads, if it answers."""
        told = self._ask("POST", "/v3/maintenance/status")
        if "header" not in told:
            return None
        header = told["header"]
        leader = told.get("leader", NOBODY)
        return Status(header["member_id"], leader, int(header["raft_term"]))

    def is_healthy(self) -> bool:
        """Whether it answers and has a majority of the members with it."""
        # One that has no space left is to be repaired, and so must be let start.
        return self._ask("GET", "/health?exclude=NOSPACE").get("health") == "true"

    def failure(self, what: str) -> EtcdFailed:
        """Return an error that shows the end of the log of the last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            bad = (line for line in log if not line.startswith(_NO_TROUBLE))
            tail = deque(bad, LOG_TAIL_LINES)
        lines = [line.decode(errors="replace").rstrip() for line in tail]
        told = "\n".join(f"  {line}" for line in lines) or "  no complaint"
        if taken := _TAKEN.search(told):
            return PortTaken(
                f"etcd can't listen at '{taken[1]}', where another process does; "
                f"choose another port, or 0 for any free one"
            )
        return EtcdFailed(
            f"etcd at '{self.endpoint}' {what}; the end of its log:\n{told}"
        )

    def check(self, patience: float = 0.0) -> None:
        """Return after ``patience`` seconds.

        Raises:
            EtcdFailed: As soon as the process has ended by itself.
        """
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._process.wait(patience)
            self._process = None
            if status < 0:
                # It had no time to write why into its log.
                raise EtcdFailed(
                    f"etcd at '{self.endpoint}' was ended by signal {-status}"
                )
            raise self.failure(f"ended by itself with status {status}")

    def _opened_log(self) -> BinaryIO:
        try:
            self.directory.mkdir(mode=0o700, exist_ok=True)
            return self.log.open("ab")
        except OSError as error:
            raise UsageError(
                f"the log of etcd can't be written: {error}; give a data directory of "
                f"this user"
            ) from error

    def _signal(self, signum: int) -> None:
        if self._process is not None:
            self._process.send_signal(signum)

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        host, port, limit = self.site.host.here, self.site.port, _ANSWERS_WITHIN
        connection: http.client.HTTPConnection
        if self.site.tls:
            context = self.site.tls.context()
            connection = http.client.HTTPSConnection(
                host, port, timeout=limit, context=context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=limit)
        failures = (OSError, http.client.HTTPException, ValueError)
        with contextlib.closing(connection), contextlib.suppress(*failures):
            connection.request(method, path, body="{}" if method == "POST" else None)
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        return {}


def wait_until_healthy(members: Iterable[EtcdMember], timeout: float) -> None:
    """Wait until all serve.

    Raises:
        EtcdFailed: If one ended, or they don't within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    waiting = list(members)
    while waiting:
        for member in waiting:
            member.check(_LOOK_EVERY)
        waiting = [member for member in waiting if not member.is_healthy()]
        if waiting and time.monotonic() > deadline:
            raise waiting[0].failure(f"does not serve after {timeout:g} s")
