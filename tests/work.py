"""What workers do whose function is named; light, as each of them imports it."""

import os
import signal
import sys
from pathlib import Path


def rank_times(factor: int) -> int:
    return factor * int(os.environ["RANK"])


def raise_on_rank_one() -> None:
    if os.environ["RANK"] == "1":
        raise KeyError("nope")
    signal.pause()


def fail_once(flag: str) -> str:
    path = Path(flag)
    if not path.exists():
        path.write_text("failed")
        sys.exit(7)
    return os.environ["TORCHELASTIC_RESTART_COUNT"]


def vanish() -> None:
    os._exit(0)


def ask(place: str) -> int:
    import urllib.request

    with urllib.request.urlopen(f"http://{place}/", timeout=20) as answer:
        return int(answer.status)


def end_when_asked(asked: str) -> str:
    Path(asked).read_bytes()
    return "done"


def rank() -> int:
    return int(os.environ["RANK"])


def odd_ranks_fail(seen: str) -> int:
    if rank() % 2:
        Path(seen, os.environ["TORCHELASTIC_RESTART_COUNT"]).touch(exist_ok=False)
        raise ValueError("odd")
    return rank()
