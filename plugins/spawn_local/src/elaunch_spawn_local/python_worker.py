"""A Python worker in a process that is an interpreter already.

Used by a fork server with preloaded modules, whose children go on as this, and as
``-m elaunch_spawn_local.python_worker SCRIPT [ARGS]``, which runs a script in a fresh
interpreter of its own. Either way the script finds what ``python SCRIPT`` gives it.
"""

import builtins
import os
import sys


TYPE_CHECKING = False  # `typing` is slow to import, and scripts wait for this
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import CodeType, ModuleType, TracebackType
    from typing import Any, NoReturn


def be(request: "Mapping[str, Any]") -> None:
    """Be the worker that was asked for, in a child of a fork server.

    Args:
        request: With the whole ``environment``, and ``script`` or ``call``.
    """
    from elaunch_spawn_local import forked, function_worker, stack_signal

    forked.refresh(request["environment"])
    stack_signal.register()
    if "call" in request:
        from pathlib import Path

        call = request["call"]
        function_worker.run(Path(call["path"]), Path(call["result"]))
        return
    script = request["script"]
    run = run_module if script["module"] else run_script
    run(script["target"], script["args"])


def run_script(path: str, args: "Sequence[str]") -> None:
    """Run a script as ``python path args`` does; a directory or archive, too."""
    from importlib.machinery import SourceFileLoader

    sys.argv[:] = [path, *args]
    # As the interpreter says it, in tracebacks as well.
    file = os.path.abspath(path)  # noqa: PTH100 - `resolve` would follow links
    if os.path.isdir(path) or _is_archive(path):  # noqa: PTH112 - pathlib is slow to import
        sys.path.insert(0, file)
        _new_main()
        _run(lambda: _runpy()._run_module_as_main("__main__", alter_argv=False))  # noqa: SLF001 - as the interpreter does
        return
    _put_first(os.path.dirname(os.path.realpath(path)))  # noqa: PTH120 - likewise
    main = _new_main(__file__=file, __cached__=None)
    main.__loader__ = SourceFileLoader("__main__", file)
    code = _compiled(file)
    _run(lambda: exec(code, main.__dict__))  # noqa: S102 - the user's own script


def run_module(name: str, args: "Sequence[str]") -> None:
    """Run a module as ``python -m name args`` does."""
    sys.argv[:] = [name, *args]
    _put_first(os.getcwd())  # noqa: PTH109 - as above
    _new_main()
    _run(lambda: _runpy()._run_module_as_main(name))  # noqa: SLF001 - as above


def _is_archive(path: str) -> bool:
    import zipimport

    try:
        zipimport.zipimporter(path)
    except zipimport.ZipImportError:
        return False
    return True


def _put_first(directory: str) -> None:
    if not os.environ.get("PYTHONSAFEPATH"):
        sys.path.insert(0, directory)


def _runpy() -> "Any":
    import runpy

    return runpy


def _new_main(**attributes: "Any") -> "ModuleType":
    """Make the module ``__main__`` anew, as it is before a program begins."""
    main = type(sys)("__main__")
    main.__dict__.update(__builtins__=builtins, __annotations__={}, **attributes)
    sys.modules["__main__"] = main
    return main


def _compiled(file: str) -> "CodeType":
    source = _run(lambda: _read(file))
    code: CodeType = _run(lambda: compile(source, file, "exec", dont_inherit=True))
    return code


def _read(file: str) -> bytes:
    with open(file, "rb") as source:  # noqa: PTH123 - as above
        return source.read()


def _run(work: "Callable[[], Any]") -> "Any":
    """Do it, and show what it raises as the interpreter would, without our frames."""
    try:
        return work()
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - the last one to see it
        _end_with(error)


def _end_with(error: BaseException) -> "NoReturn":
    error.__traceback__ = _theirs(error.__traceback__)
    sys.excepthook(type(error), error, error.__traceback__)
    sys.exit(130 if isinstance(error, KeyboardInterrupt) else 1)


def _theirs(traceback: "TracebackType | None") -> "TracebackType | None":
    """Return the traceback from the first frame on that is not of this file."""
    while traceback and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    return traceback


if __name__ == "__main__":
    run_script(sys.argv[1], sys.argv[2:])
