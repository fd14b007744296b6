"""An agent's start goes through no garbage; its run does."""

import subprocess
import sys


CODE = """
import gc
looks = []
gc.callbacks.append(lambda phase, _: looks.append(gc.get_threshold()[0]))
from elaunch.cli import garbage, main
looks.clear()
try:
    main(["run", "-q", "--no-python", "true"])
finally:
    print(garbage.STARTING in looks, gc.get_threshold()[0] == garbage.RUNNING)
    print(gc.get_freeze_count() > len(gc.get_objects()))
"""


def test_nothing_is_gone_through_before_the_agent_runs() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    )

    assert ended.stdout.split() == ["False", "True", "True"]
