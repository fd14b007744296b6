"""What goes wrong while an agent ends does not hide how its job ended."""

from pathlib import Path

import pytest
from agents import Launch, Script


RUDE = """
from elaunch.api import MemoryStore, Provider, RendezvousOptions, StoreRendezvous
from elaunch.hookspecs import hookimpl

class Rude(StoreRendezvous):
    async def {method}:
        await super().{call}
        raise OSError("rude {call}")

def create(params, options):
    async def open_store():
        return MemoryStore()
    return Rude(open_store, params, options)

@hookimpl
def elaunch_register_rendezvous():
    return [Provider("rude", "fails when it goes", create, RendezvousOptions)]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory of packages with a plugin whose code is still to be written."""
    info = tmp_path / "site" / "rude-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rude\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[elaunch]\nrude = rude_plugin\n")
    return info.parent


@pytest.mark.parametrize("status", [0, 3])
@pytest.mark.parametrize("call", ["leave(reason)", "aclose()"])
def test_a_rendezvous_that_fails_to_leave_changes_no_outcome(
    launch: Launch, script: Script, site: Path, call: str, status: int
) -> None:
    method = {"leave(reason)": "leave(self, reason)", "aclose()": "aclose(self)"}[call]
    (site / "rude_plugin.py").write_text(RUDE.format(method=method, call=call))
    worker = script(f"raise SystemExit({status})")
    agent = launch("--rdzv-backend", "rude", worker, PYTHONPATH=str(site))

    assert agent.wait() == status
    agent.wait_for(f"OSError: rude {call[:5]}")
    assert ("the job succeeded" in agent.output) == (status == 0)
