"""A forked Python worker finds what a fresh interpreter would show it."""

import json
import os
import subprocess
import sys
import textwrap
import zipapp
from pathlib import Path
from typing import Any

import pytest

from elaunch.api import ScriptEntry, StartMethod, StartSettings
from elaunch.testing.groups import exits, started, worker
from elaunch_spawn_local.local import LocalSpawner


FACTS = """
import json, os, sys, threading, signal
main = sys.modules["__main__"]
facts = {
    "argv": sys.argv,
    "path": sys.path,
    "environment": {k: v for k, v in os.environ.items() if k in ("WORD", "HOME")},
    "unset": os.environ.get("GONE"),
    "file": __file__,
    "name": [__name__, main.__name__, main.__dict__ is globals()],
    "package": __package__ or "",
    "spec": getattr(__spec__, "name", None),
    "loader": type(__loader__).__name__,
    "doc": __doc__,
    "names": sorted(n for n in globals() if n.startswith("__")),
    "cwd": os.getcwd(),
    "main thread": threading.current_thread() is threading.main_thread(),
    "threads": threading.active_count(),
    "buffering": [sys.stdout.line_buffering, sys.stdout.write_through],
    "encoding": [sys.stdout.encoding, sys.stderr.errors, sys.stdin.read()],
    "signals": [str(signal.getsignal(n)) for n in (2, 13, 15, 17)],
}
with open(os.environ["FACTS"], "w") as file:
    json.dump(facts, file)
"""


def write(path: Path, code: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code))
    return path


async def warm(entry: ScriptEntry, **environment: str) -> int:
    settings = StartSettings(method=StartMethod.WARM, preload=("json",))
    spawner = LocalSpawner("job", settings)
    async with started(spawner, entry, worker(0, **environment)) as group:
        return (await exits(group))[0].exitcode


def fresh(entry: ScriptEntry, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        entry.command(),
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


async def facts_of(entry: ScriptEntry, folder: Path) -> tuple[Any, Any]:
    """Return what a warm worker and what a fresh interpreter finds."""
    one, other = folder / "warm.json", folder / "fresh.json"
    common = {"WORD": "wörd\n", "GONE": ""}
    assert await warm(entry, FACTS=str(one), **common) == 0
    assert fresh(entry, FACTS=str(other), **common).returncode == 0
    return json.loads(one.read_text()), json.loads(other.read_text())


@pytest.mark.asyncio
async def test_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "dir" / "job.py", FACTS)
    monkeypatch.chdir(tmp_path)
    entry = ScriptEntry("dir/job.py", ("-x", "two words"), "job.py")

    found, expected = await facts_of(entry, tmp_path)

    assert found == expected
    assert found["argv"] == ["dir/job.py", "-x", "two words"]
    assert found["path"][0] == str(tmp_path / "dir")


@pytest.mark.asyncio
async def test_a_script_that_is_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = write(tmp_path / "real" / "job.py", FACTS)
    (tmp_path / "link.py").symlink_to(real)
    monkeypatch.chdir(tmp_path)

    found, expected = await facts_of(ScriptEntry("link.py", (), "job"), tmp_path)

    assert found == expected


@pytest.mark.asyncio
async def test_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "pack" / "__init__.py", "")
    write(tmp_path / "pack" / "job.py", FACTS)
    monkeypatch.chdir(tmp_path)
    entry = ScriptEntry("pack.job", ("an argument",), "job", module=True)

    found, expected = await facts_of(entry, tmp_path)

    assert found == expected
    assert found["path"][0] == str(tmp_path)


@pytest.mark.asyncio
async def test_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "job" / "__main__.py", FACTS)
    monkeypatch.chdir(tmp_path)

    found, expected = await facts_of(ScriptEntry("job", ("a",), "job"), tmp_path)

    assert found == expected


@pytest.mark.asyncio
async def test_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "job" / "__main__.py", FACTS)
    zipapp.create_archive(tmp_path / "job", tmp_path / "job.any")
    monkeypatch.chdir(tmp_path)

    found, expected = await facts_of(ScriptEntry("job.any", ("a",), "job"), tmp_path)

    assert found == expected


@pytest.mark.parametrize(
    "code",
    [
        "raise SystemExit(7)",
        "import sys; sys.exit('a word')",
        "import sys; sys.exit()",
        "def f():\n    raise ValueError('no luck')\nf()",
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError(1) from e",
        "this is no Python",
        "import sys; sys.excepthook = lambda *a: print('mine', a[0].__name__)\n1 / 0",
        "import atexit; atexit.register(print, 'at exit'); print('in', end='')",
        """
        import threading, time
        threading.Thread(target=lambda: (time.sleep(0.1), print("late"))).start()
        """,
    ],
)
@pytest.mark.asyncio
async def test_an_end(
    code: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code, output and traceback are those of a fresh interpreter."""
    path = write(tmp_path / "job.py", code)
    entry = ScriptEntry(str(path), (), "job.py")

    code_of_warm = await warm(entry)
    captured = capfd.readouterr()
    expected = fresh(entry)

    assert code_of_warm == expected.returncode
    assert captured.out == with_newline(expected.stdout)
    assert captured.err == with_newline(expected.stderr)


def with_newline(text: str) -> str:
    """Return what reaches the console of it: lines."""
    return text if not text or text.endswith("\n") else text + "\n"


@pytest.mark.asyncio
async def test_classes_of_the_script_can_be_pickled_and_multiprocessing_works(
    tmp_path: Path,
) -> None:
    code = """
        import multiprocessing, pickle

        class Point:
            pass

        def double(n):
            return 2 * n

        if __name__ == "__main__":
            assert type(pickle.loads(pickle.dumps(Point()))) is Point
            for method in ("spawn", "fork"):
                with multiprocessing.get_context(method).Pool(1) as pool:
                    assert pool.map(double, [1, 2]) == [2, 4]
    """
    path = write(tmp_path / "job.py", code)

    assert await warm(ScriptEntry(str(path), (), "job.py")) == 0


@pytest.mark.asyncio
async def test_what_is_preloaded_is_imported_once_and_before_the_workers(
    tmp_path: Path,
) -> None:
    diary = tmp_path / "diary"
    write(
        tmp_path / "slow.py",
        """
        import os, sys
        with open(os.environ["DIARY"], "a") as file:
            print(os.environ["OMP_NUM_THREADS"], sys.path.count(sys.path[0]), file=file)
        """,
    )
    path = write(tmp_path / "job.py", "import slow")
    settings = StartSettings(method=StartMethod.WARM, preload=("slow",))
    os.environ["DIARY"] = str(diary)
    try:
        spawner = LocalSpawner("job", settings)
        entry = ScriptEntry(str(path), (), "job.py")
        async with started(spawner, entry, *map(worker, range(3))) as group:
            await exits(group, 3)
            await group.close()
            again = await spawner.start(entry, [worker(0)])
            assert (await exits(again))[0].exitcode == 0
    finally:
        del os.environ["DIARY"]

    assert diary.read_text() == "1 1\n"


@pytest.mark.asyncio
async def test_random_numbers_differ(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "job.py", "import random; print(random.random())")
    settings = StartSettings(method=StartMethod.WARM, preload=("random",))
    entry = ScriptEntry(str(path), (), "job.py")
    async with started(
        LocalSpawner("job", settings), entry, *map(worker, range(4))
    ) as group:
        await exits(group, 4)

    assert len(set(capfd.readouterr().out.split())) == 4


def test_a_script_under_our_eyes_in_a_fresh_interpreter(tmp_path: Path) -> None:
    path = write(tmp_path / "job.py", "import sys; print(sys.argv, __name__); 1 / 0")
    entry = ScriptEntry(str(path), ("a",), "job.py")
    command = [sys.executable, "-P", "-m", "elaunch_spawn_local.python_worker"]
    ended = subprocess.run(
        [*command, str(path), "a"], capture_output=True, text=True, check=False
    )
    expected = fresh(entry)

    assert ended.returncode == expected.returncode
    assert ended.stdout == expected.stdout
    assert ended.stderr == expected.stderr
