"""What processes of `start_processes` do; light, as each of them imports it."""

import os
import signal


def times(factor: int, text: str) -> int:
    print(text, flush=True)  # noqa: T201 - what is looked for
    return factor * int(os.environ["NUMBER"])


def fail_or_wait(*, fail: bool) -> None:
    if fail:
        raise ValueError("as planned")
    signal.pause()


def fail_first(name: str) -> None:
    fail_or_wait(fail=name == "0")


def big(size: int) -> bytes:
    return bytes(size)


def vanish() -> None:
    os._exit(0)
