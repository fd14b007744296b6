"""Text of others on a screen."""

import io

from hypothesis import given, strategies

from elaunch.cli.console import Console, Voice
from elaunch.events import Event, EventName
from elaunch.text import printable, printable_lines


def test_colours_are_left_out_and_other_controls_shown() -> None:
    assert printable("\x1b[1;35mboom\x1b[0m\x1b[2J\x85\t") == "boom\\x1b[2J\\x85\t"


@given(strategies.text())
def test_nothing_reaches_the_terminal(text: str) -> None:
    assert all(
        c == "\t" or not (ord(c) < 32 or 127 <= ord(c) < 160) for c in printable(text)
    )


def test_later_lines_do_not_begin_where_ours_do() -> None:
    assert printable_lines("one\nelaunch: two\x07") == "one\n  elaunch: two\\x07"


def test_the_console_shows_them_so() -> None:
    stream = io.StringIO()
    reason = "rank 0 failed: \x1b[2Jboom\nelaunch: the job succeeded"
    Console(Voice.NORMAL, stream).record(
        Event(name=EventName.RENDEZVOUS_LOST, run_id="job", metadata={"reason": reason})
    )

    assert stream.getvalue() == (
        "elaunch: lost the job: rank 0 failed: \\x1b[2Jboom\n"
        "  elaunch: the job succeeded\n"
    )
