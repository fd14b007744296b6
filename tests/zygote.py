"""A process that has imported elaunch and becomes a new one as often as it is asked.

The imports are most of what a short command costs, and the tests run thousands of them.
What is forked here runs ``elaunch`` as ``python -m elaunch`` would.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import socket
import sys
from collections.abc import Sequence


MODULES = (
    *("elaunch.launcher", "elaunch.builtin", "elaunch.monitors.sections"),
    *("elaunch.cli.run", "elaunch.cli.settings", "elaunch.cli.config_file"),
    *("elaunch.cli.agents", "elaunch.cli.blame", "elaunch.cli.explain"),
    *("elaunch.cli.plugins", "elaunch.preflights.providers"),
    *("elaunch_events_log.plugin", "elaunch_events_log.jsonl"),
    *("elaunch_rdzv_c10d.plugin", "elaunch_rdzv_c10d.bootstrap"),
    *("elaunch_rdzv_c10d.control_store", "elaunch_rdzv_c10d.hosting"),
    *("elaunch_rdzv_etcd.plugin", "uvloop", "tomllib", "encodings.idna"),
    *("elaunch_spawn_local.plugin", "elaunch_spawn_local.local"),
    *("elaunch_spawn_local.output.generations", "elaunch_spawn_local.output.layout"),
)
"""What imports nearly all that an agent needs; the rest it imports itself."""

LIMIT = 1 << 17
"""Bytes of a request."""

FOREVER = 1 << 16
"""More than the highest number of a file that is open."""


def serve(own: socket.socket) -> bool:
    """Fork for each request; return whether this is who was forked.

    A request has the words, the directory and the environment; with it come the three
    standard streams, and a socket on which the process and its exit status are told.
    """
    poller = select.poll()
    poller.register(own, select.POLLIN)
    running: dict[int, tuple[int, int]] = {}
    while True:
        for ready, _ in poller.poll():
            if ready in running:
                pid, told = running.pop(ready)
                poller.unregister(ready)
                os.close(ready)
                _tell(told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(told)
                continue
            request, files, _, _ = socket.recv_fds(own, LIMIT, 4)
            if not request:
                return False
            *streams, told = files
            pid = os.fork()
            if not pid:
                _become(own, streams, **json.loads(request))
                return True
            for stream in streams:
                os.close(stream)
            process = os.pidfd_open(pid)
            _tell(told, pid, process)
            running[process] = pid, told
            poller.register(process, select.POLLIN)


def _become(
    own: socket.socket,
    streams: Sequence[int],
    *,
    words: Sequence[str],
    cwd: str,
    env: dict[str, str],
) -> None:
    os.setsid()
    own.detach()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(len(streams), FOREVER)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv[1:] = words
    sys.path[0] = cwd


def _tell(told: int, number: int, *files: int) -> None:
    answers = socket.socket(fileno=told)
    with contextlib.suppress(BrokenPipeError):  # who asked may have gone
        socket.send_fds(answers, [b"%d" % number], files)
    answers.detach()


def main() -> int:
    """Serve the one at the other end of the socket whose number is the argument."""
    for module in MODULES:
        importlib.import_module(module)
    gc.freeze()  # what is never looked at is shared for longer
    own = socket.socket(fileno=int(sys.argv.pop(1)))
    if not serve(own):
        return 0
    gc.unfreeze()
    from elaunch.cli import main as elaunch

    return elaunch()


if __name__ == "__main__":
    sys.exit(main())
