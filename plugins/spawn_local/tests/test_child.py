"""One child process."""

import os
import signal
import sys

import pytest

from elaunch_spawn_local.child import launch


def test_the_group_of_a_reaped_child_is_not_signalled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda *signalled: sent.append(signalled))
    child = launch([sys.executable, "-c", "pass"], os.environ)

    child.signal_group(signal.SIGCONT)
    child.popen.communicate()
    child.signal_group(signal.SIGKILL)

    assert sent == [(child.pid, signal.SIGCONT)]


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
def test_a_group_in_which_all_are_dead_is_no_error(
    error: type[OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int, _signum: int) -> None:
        raise error

    monkeypatch.setattr(os, "killpg", refuse)
    child = launch([sys.executable, "-c", "pass"], os.environ)

    child.signal_group(signal.SIGCONT)
    child.popen.communicate()
