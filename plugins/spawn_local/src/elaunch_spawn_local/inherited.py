"""Function workers that are forked from the launching process: the method ``fork``.

Function and arguments are in memory already and need not be pickled; only the value
that comes back is.
"""

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

from elaunch.api import FunctionEntry
from elaunch_spawn_local import forked, function_worker, stack_signal
from elaunch_spawn_local.fork_server.main import serve


_STDERR = 2


def become_server(
    entry: FunctionEntry, connection: socket.socket, agent: int
) -> NoReturn:
    """Be a fork server in a child of the launching process; in its children, a worker.

    Args:
        entry: What workers are to call.
        connection: To the agent.
        agent: Process id of the launching process.
    """
    _leave_program()
    code = 70
    try:
        born = serve(connection, agent)
        code = _work(entry, born) if born else 0
    except BaseException:  # noqa: BLE001 - the last one to see it
        os.write(_STDERR, traceback.format_exc().encode(errors="backslashreplace"))
    finally:
        # Not by the way of the launching program: its frames and exit hooks are not
        # this process's.
        os._exit(code)


def _leave_program() -> None:
    """Forget what is the launching program's: its loop, signals, pools, exit hooks."""
    if "asyncio" in sys.modules:
        import asyncio

        asyncio._set_running_loop(None)  # noqa: SLF001 - Python 3.11 doesn't at a fork
    for number in signal.valid_signals():
        module = getattr(signal.getsignal(number), "__module__", "") or ""
        if module.startswith("asyncio"):  # it does nothing without the loop
            interrupt = number == signal.SIGINT
            default = signal.default_int_handler if interrupt else signal.SIG_DFL
            signal.signal(number, default)
    if pools := sys.modules.get("concurrent.futures.thread"):
        pools._threads_queues.clear()  # noqa: SLF001 - those threads are not here
    atexit._clear()  # noqa: SLF001 - hooks of the launching program


def _work(entry: FunctionEntry, request: dict[str, Any]) -> int:
    """Call the function; return the exit code."""
    forked.refresh(request["environment"])
    stack_signal.register()
    try:
        function_worker.call(
            entry.function, entry.args, Path(request["call"]["result"])
        )
    except SystemExit as stop:
        code = _code_of(stop)
    except BaseException as error:  # noqa: BLE001 - the last one to see it
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    else:
        code = 0
    threading._shutdown()  # type: ignore[attr-defined] # noqa: SLF001 - waits for the function's threads
    atexit._run_exitfuncs()  # noqa: SLF001 - as the interpreter does next
    for stream in (sys.stdout, sys.stderr):
        # The function may have put anything in their place.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    return code


def _code_of(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return (stop.code or 0) & 0xFF
    sys.stderr.write(f"{stop.code}\n")
    return 1
