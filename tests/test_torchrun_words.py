"""Command lines that torchrun's own parser takes mean the same here."""

import contextlib
import io
import random
from collections.abc import Iterator

import pytest

from elaunch.cli.settings import resolve
from elaunch.cli.variables import TORCHRUNS


pytestmark = pytest.mark.interop

SEEDS = range(20)
LINES = 100
"""Command lines of each seed."""

VALUES = {
    "--nnodes": ("1", "1:2"),
    "--nproc-per-node": ("gpu", "3"),
    "--rdzv-backend": ("c10d", "static"),
    "--rdzv-endpoint": ("a:1",),
    "--rdzv-id": ("x",),
    "--max-restarts": ("3",),
    "--start-method": ("fork", "spawn"),
    "--role": ("r_s",),
    "--log-dir": ("d",),
    "-r": ("3", "0:1"),
    "--redirects": ("1",),
    "-t": ("2",),
    "--node-rank": ("1",),
    "--master-addr": ("h",),
    "--master-port": ("12",),
    "--local-addr": ("l",),
    "--monitor-interval": ("2",),
    "--signals-to-handle": ("SIGTERM",),
    "--event-log-handler": ("console",),
    "--local-ranks-filter": ("0",),
    "--numa-binding": ("node",),
}
SWITCHES = ("-m", "--no-python", "--run-path", "--standalone", "--virtual-local-rank")
REST = ("--", "-a", "--nnodes", "2", "--lr=1", "--role", "b", "-m")


def command_line(chance: random.Random) -> list[str]:
    words: list[str] = []
    left = list(SWITCHES)
    for _ in range(chance.randrange(5)):
        if chance.random() < 0.2 and left:
            words.append(chance.choice(left))
            left = ["--standalone", "--virtual-local-rank"]  # of the others only one
            continue
        flag = chance.choice(list(VALUES))
        value = chance.choice(VALUES[flag])
        if flag.startswith("--"):
            spellings = (flag, "--" + flag[2:].replace("-", "_"), flag[:-1])
            flag = chance.choice(spellings)
            words += chance.choice(([flag, value], [f"{flag}={value}"]))
        else:
            words += chance.choice(([flag, value], [f"{flag}{value}"]))
    if chance.random() < 0.2:
        words.append("--")
    words.append(chance.choice(("t.py", "x", "-")))
    return words + [chance.choice(REST) for _ in range(chance.randrange(4))]


def accepted(seed: int) -> Iterator[tuple[list[str], dict[str, object]]]:
    """Yield command lines that torchrun takes, and what they mean to it."""
    run = pytest.importorskip("torch.distributed.run")
    parser = run.get_args_parser()
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    for _ in range(LINES):
        words = command_line(chance)
        with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
            args = vars(parser.parse_args(words))
            what = {
                "script": args["training_script"],
                "args": args["training_script_args"],
            }
            given = {
                name: args[name]
                for name in TORCHRUNS
                if name in args and args[name] != parser.get_default(name)
            }
            yield words, what | given


@pytest.mark.parametrize("seed", SEEDS)
def test_what_torchruns_parser_takes_means_the_same(seed: int) -> None:
    seen = 0
    for words, theirs in accepted(seed):
        ours = resolve(words, {})

        assert {name: getattr(ours.args, name) for name in theirs} == theirs, words
        seen += 1
    assert seen > LINES / 2
