"""What is read from the last stderr lines of programs of many kinds."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies

from elaunch.explanations import class_in, explain, without_launcher_frames


def stderr_of(tmp_path: Path, script: str) -> list[str]:
    path = tmp_path / "script.py"
    path.write_text(script)
    return stderr([sys.executable, str(path)])


def stderr(argv: list[str]) -> list[str]:
    ended = subprocess.run(argv, capture_output=True, text=True, check=False)
    return ended.stderr.splitlines()


def compiled(compiler: str, source: Path) -> str:
    program = str(source.with_suffix(""))
    argv = [str(shutil.which(compiler)), str(source), "-o", program]
    subprocess.run(argv, check=True)
    return program


class TestPython:
    def test_a_plain_exception(self, tmp_path: Path) -> None:
        seen = explain(stderr_of(tmp_path, "x = 1\nraise ValueError('boom')\n"))

        assert seen.message == "ValueError: boom"
        assert seen.exception == "ValueError"
        assert seen.location == f"{tmp_path}/script.py:2"
        assert seen.traceback.startswith("Traceback (most recent call last):")
        assert seen.traceback.endswith("ValueError: boom")

    def test_the_innermost_frame_is_the_place(self, tmp_path: Path) -> None:
        script = "def f():\n    return 1 / 0\n\nf()\n"
        seen = explain(stderr_of(tmp_path, script))

        assert seen.message == "ZeroDivisionError: division by zero"
        assert seen.location.endswith("script.py:2")

    def test_of_a_chain_the_first_is_the_context(self, tmp_path: Path) -> None:
        script = (
            "try:\n    try:\n        1 / 0\n    except Exception:\n        {}['k']\n"
            "except Exception as e:\n    raise ValueError('last') from e"
        )
        seen = explain(stderr_of(tmp_path, script))

        assert seen.message == "ValueError: last"
        assert seen.exception == "ValueError"
        assert seen.location.endswith("script.py:7")
        assert seen.context == (
            f"ZeroDivisionError: division by zero at {tmp_path}/script.py:3"
        )
        assert seen.traceback.count("Traceback") == 3

    def test_an_exception_without_a_chain_has_no_context(self, tmp_path: Path) -> None:
        script = (
            "import traceback\ntry:\n    1 / 0\nexcept Exception:\n"
            "    traceback.print_exc()\nraise ValueError('x')"
        )
        assert explain(stderr_of(tmp_path, script)).context == ""

    def test_a_group_names_its_first_member(self, tmp_path: Path) -> None:
        script = (
            "def f():\n    raise KeyError('inner')\ntry:\n    f()\n"
            "except KeyError as e:\n    member = e\n"
            "raise ExceptionGroup('many', [member, OSError('other')])"
        )
        seen = explain(stderr_of(tmp_path, script))

        assert seen.message == "ExceptionGroup: many (2 sub-exceptions)"
        assert seen.location == f"{tmp_path}/script.py:2"
        assert seen.context == f"KeyError: 'inner' at {tmp_path}/script.py:2"

    def test_a_script_that_can_not_be_compiled(self, tmp_path: Path) -> None:
        seen = explain(stderr_of(tmp_path, "x = 1\nfoo(\n"))

        assert seen.message == "SyntaxError: '(' was never closed"
        assert seen.location == f"{tmp_path}/script.py:2"

    def test_a_crash_of_the_interpreter(self, tmp_path: Path) -> None:
        script = (
            "import ctypes, faulthandler, threading\nfaulthandler.enable()\n"
            "def f():\n    ctypes.string_at(0)\n"
            "threading.Thread(target=threading.Event().wait, daemon=True).start()\nf()"
        )
        seen = explain(stderr_of(tmp_path, script))

        assert seen.message == "Fatal Python error: Segmentation fault"
        assert "ctypes" in seen.location
        assert f"{tmp_path}/script.py" in seen.traceback

    def test_an_abort_is_explained_by_what_came_before(self, tmp_path: Path) -> None:
        script = (
            "import faulthandler, os, sys\nfaulthandler.enable()\n"
            "print(\"terminate called after throwing an instance of 'c10::Error'\\n\"\n"
            "      '  what():  no device', file=sys.stderr, flush=True)\nos.abort()"
        )
        seen = explain(stderr_of(tmp_path, script))

        assert seen.message == "c10::Error: no device"
        assert seen.location == f"{tmp_path}/script.py:5"

    def test_what_a_thread_or_a_log_told_is_not_the_end(self, tmp_path: Path) -> None:
        script = (
            "import threading\ndef f():\n    raise KeyError('thread')\n"
            "try:\n    raise ValueError('end')\n"
            "except ValueError:\n    import traceback; traceback.print_exc()\n"
            "thread = threading.Thread(target=f)\nthread.start(); thread.join()\n"
        )
        assert explain(stderr_of(tmp_path, script)).message == "ValueError: end"

    def test_the_ranks_that_torch_puts_before_lines_are_passed_over(self) -> None:
        lines = [
            "[rank3]: Traceback (most recent call last):",
            '[rank3]:   File "a.py", line 3, in <module>',
            "[rank3]:     f()",
            "[rank3]: RuntimeError: no",
        ]

        assert explain(lines).message == "RuntimeError: no"
        assert explain(lines).location == "a.py:3"

    def test_what_comes_after_is_passed_over(self) -> None:
        lines = [
            "noise",
            "Traceback (most recent call last):",
            '  File "a.py", line 3, in <module>',
            "    f()",
            "my.pkg.CustomError",
            "Exception ignored in: <function>",
            "Traceback (most recent call last):",
            '  File "b.py", line 4, in <module>',
            "OSError: late",
        ]

        assert explain(lines).message == "my.pkg.CustomError"

    def test_a_cut_traceback_keeps_what_there_is(self) -> None:
        lines = ["Traceback (most recent call last):", '  File "a.py", line 3, in f']

        assert explain(lines).message == ""
        assert explain(lines).location == "a.py:3"

    def test_no_error_explains_nothing(self) -> None:
        assert explain(["just", "noise"]).message == ""
        assert explain([]).location == ""

    BAR = "import sys\nsys.stderr.write('\\r 10%|#  | 1/10 [00:00<00:00]')\n"

    def test_a_progress_bar_before_it_hides_nothing(self, tmp_path: Path) -> None:
        script = f"{self.BAR}raise ValueError('boom')"
        seen = explain(stderr_of(tmp_path, script))

        assert seen.message == "ValueError: boom"
        assert seen.location == f"{tmp_path}/script.py:3"
        assert seen.traceback.startswith("Traceback (most recent call last):")

    def test_nor_does_one_before_a_chain(self, tmp_path: Path) -> None:
        script = (
            f"{self.BAR}try:\n    1 / 0\nexcept Exception as e:\n"
            "    raise ValueError('last') from e"
        )
        seen = explain(stderr_of(tmp_path, script))

        assert seen.message == "ValueError: last"
        assert seen.context.startswith("ZeroDivisionError: division by zero at ")
        assert seen.traceback.startswith("Traceback (most recent call last):")

    def test_nor_does_one_before_a_group(self, tmp_path: Path) -> None:
        script = f"{self.BAR}raise ExceptionGroup('many', [KeyError(1), OSError(2)])"
        seen = explain(stderr_of(tmp_path, script))

        assert seen.message == "ExceptionGroup: many (2 sub-exceptions)"
        assert seen.location == f"{tmp_path}/script.py:3"
        assert seen.traceback.startswith("  + Exception Group Traceback")

    def test_classes_that_functions_define(self, tmp_path: Path) -> None:
        script = (
            "def f():\n    class MyError(Exception): ...\n    raise MyError('x')\nf()"
        )
        seen = explain(stderr_of(tmp_path, script))

        assert seen.message.endswith("f.<locals>.MyError: x")

    def test_colours_are_passed_over(self) -> None:
        lines = [
            "Traceback (most recent call last):",
            '  File \x1b[35m"a.py"\x1b[0m, line \x1b[35m3\x1b[0m, in \x1b[35mf\x1b[0m',
            "    \x1b[31mf\x1b[0m\x1b[1;31m()\x1b[0m",
            "\x1b[1;35mValueError\x1b[0m: \x1b[35mboom\x1b[0m",
        ]

        assert explain(lines).message == "ValueError: boom"
        assert explain(lines).location == "a.py:3"

    LOGGED = (
        "import atexit, logging, os, sys\ntry:\n    1 / 0\n"
        "except Exception: logging.exception('retry')\n"
    )

    def test_one_that_was_logged_stands_behind_the_last_words(
        self, tmp_path: Path
    ) -> None:
        script = (
            f"{self.LOGGED}print('going on', file=sys.stderr)\n"
            "sys.exit('fatal: no data')"
        )
        seen = explain(stderr_of(tmp_path, script))

        assert (seen.message, seen.location) == ("fatal: no data", "")
        assert seen.context == (
            f"ZeroDivisionError: division by zero at {tmp_path}/script.py:3"
        )
        assert seen.traceback.endswith("ZeroDivisionError: division by zero")

    @pytest.mark.parametrize(
        "end",
        [
            "sys.exit(1)",
            "logging.warning('closing'); sys.exit(1)",
            "sys.stderr.write('/x.py:3: UserWarning: x\\n  warn()\\n'); sys.exit(1)",
            "raise ZeroDivisionError('division by zero')",
        ],
    )
    def test_one_that_was_logged_last_counts(self, tmp_path: Path, end: str) -> None:
        seen = explain(stderr_of(tmp_path, self.LOGGED + end))

        assert seen.message == "ZeroDivisionError: division by zero"

    def test_the_rest_of_a_long_message_is_not_the_end(self, tmp_path: Path) -> None:
        script = (
            "import logging\nlogging.warning('step 5')\n"
            "raise ValueError('first\\nsecond')"
        )
        seen = explain(stderr_of(tmp_path, script))

        assert seen.message == "ValueError: first"
        assert seen.location == f"{tmp_path}/script.py:3"


class TestClass:
    """The class of an exception, by which policies know it."""

    def test_it_has_its_module(self, tmp_path: Path) -> None:
        seen = explain(stderr_of(tmp_path, "import json; json.loads('')"))

        assert seen.exception == "json.decoder.JSONDecodeError"

    def test_it_may_have_no_message(self, tmp_path: Path) -> None:
        assert explain(stderr_of(tmp_path, "raise KeyError")).exception == "KeyError"

    def test_a_group_and_an_error_of_syntax_have_one(self, tmp_path: Path) -> None:
        group = "raise ExceptionGroup('g', [ValueError('x')])"

        assert explain(stderr_of(tmp_path, group)).exception == "ExceptionGroup"
        assert explain(stderr_of(tmp_path, "x = = 1")).exception == "SyntaxError"

    def test_one_that_was_only_logged_is_none(self, tmp_path: Path) -> None:
        script = (
            "import logging, sys\ntry:\n    1 / 0\nexcept Exception:\n"
            "    logging.basicConfig(level='INFO')\n"
            "    logging.exception('no luck')\nsys.exit('giving up')"
        )
        seen = explain(stderr_of(tmp_path, script))

        assert seen.message == "giving up"
        assert seen.exception == ""

    @pytest.mark.parametrize("text", ["", "giving up: at last", "a b", "12: x", ": x"])
    def test_other_text_has_none(self, text: str) -> None:
        assert class_in(text) == ""


class TestOtherLanguages:
    @pytest.mark.skipif(not shutil.which("c++"), reason="there is no C++ compiler")
    def test_an_uncaught_exception_of_cpp(self, tmp_path: Path) -> None:
        source = tmp_path / "a.cpp"
        source.write_text(
            "#include <stdexcept>\nint main() { throw std::runtime_error("
            '"no luck"); }\n'
        )
        seen = explain(stderr([compiled("c++", source)]))

        assert seen.message == "std::runtime_error: no luck"
        assert seen.exception == "std::runtime_error"

    @pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
    def test_a_failed_assertion_of_c(self, tmp_path: Path) -> None:
        source = tmp_path / "a.c"
        source.write_text(
            "#include <assert.h>\nint main(int n, char **v) {\n  assert(n == 7);\n}\n"
        )
        seen = explain(stderr([compiled("cc", source)]))

        assert seen.message == "main: Assertion `n == 7' failed."
        assert seen.location == f"{source}:3"

    def test_a_panic_of_go(self) -> None:
        seen = explain(
            [
                "panic: runtime error: index out of range [5] with length 3",
                "",
                "goroutine 1 [running]:",
                "panic({0x45a0, 0xc0})",
                "\t/usr/lib/go/src/runtime/panic.go:884 +0x212",
                "main.main()",
                "\t/src/main.go:7 +0x1d",
                "exit status 2",
            ]
        )

        assert seen.message.startswith("panic: runtime error: index out of range")
        assert seen.location == "/src/main.go:7"

    @pytest.mark.parametrize(
        "lines",
        [
            ("thread 'main' panicked at src/main.rs:2:5:", "no luck"),
            ("thread 'main' (812) panicked at src/main.rs:2:5:", "no luck"),
            ("thread 'main' panicked at 'no luck', src/main.rs:2:5",),
        ],
    )
    def test_a_panic_of_rust(self, lines: tuple[str, ...]) -> None:
        seen = explain([*lines, "note: run with `RUST_BACKTRACE=1`"])

        assert seen.message == "panicked: no luck"
        assert seen.location == "src/main.rs:2"

    def test_an_exception_of_java(self) -> None:
        seen = explain(
            [
                'Exception in thread "main" java.lang.IllegalStateException: outer',
                "\tat app.Train.step(Train.java:41)",
                "\tat app.Train.main(Train.java:12)",
                "Caused by: java.io.IOException: disk",
                "\tat app.Data.read(Data.java:9)",
                "\t... 1 more",
            ]
        )

        assert seen.message == "java.lang.IllegalStateException: outer"
        assert seen.exception == "java.lang.IllegalStateException"
        assert seen.location == "Train.java:41"
        assert seen.context == "java.io.IOException: disk at Data.java:9"

    @pytest.mark.parametrize(
        "line",
        [
            "double free or corruption (out)",
            "free(): invalid pointer",
            "malloc(): corrupted top size",
            "corrupted size vs. prev_size",
        ],
    )
    def test_a_corrupted_heap(self, line: str) -> None:
        assert explain(["noise", line]).message == line

    def test_a_smashed_stack(self) -> None:
        line = "*** stack smashing detected ***: terminated"

        assert explain([line]).message == "stack smashing detected"

    def test_a_sanitizer(self) -> None:
        seen = explain(
            [
                "==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x60",
                "SUMMARY: AddressSanitizer: heap-use-after-free /a.c:7:12 in main",
                "==7==ABORTING",
            ]
        )

        assert seen.message == "AddressSanitizer: heap-use-after-free in main"
        assert seen.location == "/a.c:7"


PIECES = strategies.sampled_from(
    [
        "Traceback (most recent call last):",
        "  + Exception Group Traceback (most recent call last):",
        '  File "a.py", line 3, in f',
        "    f()",
        "ValueError: x",
        "",
        "During handling of the above exception, another exception occurred:",
        "SyntaxError: x",
        "Fatal Python error: Aborted",
        "Current thread 0x1 (most recent call first):",
        "terminate called without an active exception",
        "terminate called after throwing an instance of 'X'",
        "  what():  ",
        "panic: x",
        "goroutine 1 [running]:",
        "thread 'main' panicked at a.rs:1:1:",
        'Exception in thread "main" a.B: c',
        "Caused by: d",
        "a.c:1: f: Assertion `x' failed.",
        "Exception ignored in: x",
        "[rank0]: Traceback (most recent call last):",
        " 10%|#  | [00:00]Traceback (most recent call last):",
        "ERROR:root:x",
    ]
)


LINES = strategies.text(strategies.characters(exclude_characters="\n"))


@given(strategies.lists(PIECES | LINES))
def test_whatever_is_written_it_is_read(lines: list[str]) -> None:
    told = explain(lines)

    assert all("\n" not in line for line in (told.message, told.location))
    assert set(without_launcher_frames(lines)) <= set(lines)


class TestFramesOfTheLauncher:
    def test_those_that_lead_to_the_users_code_are_left_out(self) -> None:
        lines = (
            "noise",
            "Traceback (most recent call last):",
            '  File "<frozen runpy>", line 198, in _run_module_as_main',
            '  File "/x/elaunch_spawn_local/function_worker.py", line 4, in <module>',
            "    _hand_back(_perform())",
            "    ^^^^^^^^^^",
            '  File "/x/elaunch/worker/error_file.py", line 52, in recorded',
            "    return fn(*args, **kwargs)",
            '  File "/home/me/train.py", line 7, in main',
            "    launch()",
            '  File "/x/elaunch/worker/error_file.py", line 53, in recorded',
            "    return fn(*args, **kwargs)",
            "ValueError: boom",
        )

        assert without_launcher_frames(lines) == (*lines[:2], *lines[8:10], lines[12])
        coloured = tuple(
            line.replace('"/', '\x1b[35m"/').replace('",', '"\x1b[0m,')
            for line in lines
        )
        assert without_launcher_frames(coloured) == (
            *coloured[:2],
            *coloured[8:10],
            coloured[12],
        )

    def test_of_a_dump_the_outer_ones_are(self) -> None:
        lines = (
            "Current thread 0x0000 (most recent call first):",
            '  File "/home/me/train.py", line 7 in main',
            '  File "/x/elaunch_spawn_local/function_worker.py", line 4 in _perform',
            '  File "<frozen runpy>", line 88 in _run_code',
            "",
            "Extension modules: numpy",
        )

        assert without_launcher_frames(lines) == (*lines[:2], *lines[4:])
