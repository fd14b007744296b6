"""``elaunch etcd``: a server for a cluster on a laptop, until somebody stops it."""

import argparse
import contextlib
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from elaunch.api import UsageError
from elaunch_rdzv_etcd.local.cluster import EtcdCluster
from elaunch_rdzv_etcd.local.member import EtcdFailed, EtcdMember


_PORT = 2379
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Stopped(Exception):
    """Somebody asked for the end."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n  see '{self.prog} --help'")


class EtcdCommand:
    """Runs etcd until Ctrl-C or SIGTERM.

    Args:
        prog: What users type to get here.
    """

    def __init__(self, prog: str) -> None:
        self._parser = parser(prog)

    def run(self, arguments: Sequence[str]) -> int:
        """Run etcd; return 0 when it was told to end.

        Raises:
            EtcdFailed: If etcd does not come up, or ends by itself.
            UsageError: If it can't be run as asked.
        """
        asked = self._parser.parse_args(arguments)
        cluster = EtcdCluster(
            asked.data_dir, size=asked.members, host=asked.host, port=asked.port
        )
        with contextlib.suppress(_Stopped), _stoppable():
            try:
                cluster.start()
                sys.stdout.write(_told(cluster, asked.data_dir))
                sys.stdout.flush()
                _watch(cluster)
            finally:
                cluster.stop()
        return 0


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of its arguments."""
    found = _Parser(
        prog=prog,
        description="Run an etcd server on this host until Ctrl-C or SIGTERM, for jobs "
        "that meet in it. It asks nobody who he is.",
        allow_abbrev=False,
    )
    found.add_argument(
        "--host",
        metavar="ADDR",
        default="127.0.0.1",
        help="name or address to listen at (default: 127.0.0.1, this host alone)",
    )
    found.add_argument(
        "--port",
        metavar="PORT",
        type=int,
        default=_PORT,
        help=f"port to listen at, 0 for any free one; further members take those after "
        f"it (default: {_PORT})",
    )
    found.add_argument(
        "--data-dir",
        metavar="DIR",
        default=None,
        type=_directory,
        help="where to keep the data (default: a new directory, removed at the end)",
    )
    found.add_argument(
        "--members",
        metavar="N",
        type=int,
        default=1,
        help="members of the cluster; of 3 one may die (default: 1)",
    )
    return found


def _directory(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError(
            "'' names no directory; leave the flag out for one that is removed"
        )
    return text


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Turn the first signal into an exception, and ignore those after it."""

    def stop(_signum: int, _frame: FrameType | None) -> NoReturn:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped

    before = {each: signal.signal(each, stop) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _told(cluster: EtcdCluster, kept: str | None) -> str:
    data = f"its data are in {kept}" if kept else "its data go when it ends"
    return (
        f"etcd serves at {cluster.endpoints}; {data}; Ctrl-C ends it\n"
        f"run each node of a job with:\n"
        f"  elaunch run --rdzv-backend etcd --rdzv-endpoint {cluster.endpoints} "
        f"--rdzv-id job --nnodes 2 train.py\n"
    )


def _watch(cluster: EtcdCluster) -> NoReturn:
    """Tell of each member that ends by itself; raise when too few are left."""
    ended: queue.SimpleQueue[EtcdMember] = queue.SimpleQueue()

    def wait(member: EtcdMember) -> None:
        member.wait()
        ended.put(member)

    for member in cluster.members:
        threading.Thread(target=wait, args=(member,), daemon=True).start()
    while True:
        member = ended.get()
        try:
            member.check()
        except EtcdFailed as failure:
            size = len(cluster.members)
            living = sum(each.pid is not None for each in cluster.members)
            if 2 * living > size:
                sys.stderr.write(f"{living} of {size} members go on: {failure}\n")
            elif living:
                raise EtcdFailed(
                    f"{living} of {size} members are too few, so all end: {failure}"
                ) from None
            else:
                raise
