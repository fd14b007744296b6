"""A rendezvous plugin for torchelastic, as somebody else would write it: no torch.

Nodes meet in a directory. Everything here blocks; nothing knows of elaunch.
"""

import contextlib
import fcntl
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


LAST_CALL = 0.3


class RendezvousClosedError(Exception):
    pass


class RendezvousTimeoutError(Exception):
    pass


class Store:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.timeout = 30.0

    def _path(self, key: str) -> Path:
        return self.folder / key.replace("/", "%")

    def set(self, key: str, value: bytes) -> None:
        draft = self.folder / f".{uuid.uuid4()}"
        draft.write_bytes(value)
        draft.rename(self._path(key))

    def get(self, key: str) -> bytes:
        self.wait([key])
        return self._path(key).read_bytes()

    def multi_get(self, keys: list[str]) -> list[bytes]:
        return [self.get(key) for key in keys]

    def check(self, keys: list[str]) -> bool:
        return all(self._path(key).exists() for key in keys)

    def wait(self, keys: list[str]) -> None:
        until = time.monotonic() + self.timeout
        while not self.check(keys):
            if time.monotonic() > until:
                raise TimeoutError(f"no {keys}")
            time.sleep(0.005)

    def add(self, key: str, amount: int) -> int:
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self._path(key)
            value = amount + (int(path.read_bytes()) if path.exists() else 0)
            self.set(key, str(value).encode())
            return value


class Info:
    def __init__(self, store: Store, rank: int, world_size: int) -> None:
        self.store = store
        self.rank = rank
        self.world_size = world_size
        self.bootstrap_store_info = None


class Handler:
    use_agent_store = False

    def __init__(self, params: Any) -> None:
        self.params = params
        self.folder = Path(params.endpoint)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.me = f"{os.getpid()}-{uuid.uuid4()}"
        self._busy = threading.Lock()
        self._log(f"timeout={params.get_as_int('timeout')}")

    def _log(self, what: str) -> None:
        with (self.folder / "calls").open("a") as file:
            file.write(f"{os.getpid()} {what}\n")

    @contextlib.contextmanager
    def _state(self) -> Iterator[dict[str, Any]]:
        # Two calls at a time would be a mistake of the caller.
        assert self._busy.acquire(blocking=False)
        try:
            with (self.folder / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                path = self.folder / "state.json"
                new: dict[str, Any] = {"in": [], "waiting": [], "round": 0}
                new |= {"complete": False, "closed": False, "since": 0.0}
                state = json.loads(path.read_text()) if path.exists() else new
                yield state
                path.write_text(json.dumps(state))
        finally:
            self._busy.release()

    def get_backend(self) -> str:
        return "acme"

    def get_run_id(self) -> str:
        return str(self.params.run_id)

    def next_rendezvous(self) -> Info:
        sys.stdout.write("acme: meeting\n")
        sys.stdout.flush()
        until = time.monotonic() + 20
        with self._state() as state:
            if self.me in state["in"]:
                state["in"].remove(self.me)
                state["waiting"].append(self.me)
        while time.monotonic() < until:
            with self._state() as state:
                found = self._step(state)
            if found:
                return found
            time.sleep(0.01)
        raise RendezvousTimeoutError("nobody came")

    def _step(self, state: dict[str, Any]) -> Info | None:
        if state["closed"]:
            raise RendezvousClosedError("it is closed")
        if state["complete"]:
            if self.me in state["in"]:
                store = Store(self.folder / f"round-{state['round']}")
                return Info(store, state["in"].index(self.me), len(state["in"]))
            if self.me not in state["waiting"]:
                state["waiting"].append(self.me)
            if not state["in"]:
                state |= {"complete": False, "round": state["round"] + 1}
                state |= {"waiting": [], "since": time.time()}
            return None
        if self.me not in state["in"]:
            state["in"].append(self.me)
            state["since"] = time.time()
        count = len(state["in"])
        called = time.time() > state["since"] + LAST_CALL
        if count == self.params.max_nodes or (
            count >= self.params.min_nodes and called
        ):
            state["complete"] = True
        return None

    def is_closed(self) -> bool:
        with self._state() as state:
            return bool(state["closed"])

    def set_closed(self) -> None:
        with self._state() as state:
            state["closed"] = True

    def num_nodes_waiting(self) -> int:
        with self._state() as state:
            return len(state["waiting"])

    def shutdown(self) -> bool:
        self._log("shutdown")
        self.set_closed()
        return True


def entry() -> type[Handler]:
    return Handler


def broken() -> None:
    raise OSError("no licence")
