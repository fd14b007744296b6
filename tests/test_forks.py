"""What is forked for a test is, to the kernel, what users start."""

import os
from pathlib import Path

import forks
import pytest
from agents import Launch, Script


def facts_of(pid: int) -> dict[str, object]:
    """Return what a process has from its start and its start-up."""
    proc = Path(f"/proc/{pid}")
    status = dict(
        line.split(":", 1) for line in (proc / "status").read_text().splitlines()
    )
    return {
        **{name: status[name] for name in ("SigBlk", "SigIgn", "SigCgt", "NoNewPrivs")},
        "files": sorted(path.name for path in (proc / "fd").iterdir()),
        "leads its session": os.getsid(pid) == pid,
        "directory": (proc / "cwd").readlink(),
    }


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux")
def test_an_agent_is_the_same_to_the_kernel_whether_it_is_forked_or_not(
    launch: Launch, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = script("import signal\nprint('up', flush=True)\nsignal.pause()\n")
    found = []
    for fresh in (False, True):
        monkeypatch.setattr(forks, "FRESH", fresh)
        agent = launch("--standalone", worker)
        agent.wait_for("up")
        found.append((type(agent.process) is forks.Fork, facts_of(agent.pid)))

    assert [forked for forked, _ in found] == [True, False]
    assert found[0][1] == found[1][1]
