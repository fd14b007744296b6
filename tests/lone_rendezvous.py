"""A rendezvous of torchelastic's kind, for a job of one node, in memory."""

from elaunch.blocking.handler import RendezvousHandler, RendezvousInfo


class Alone(RendezvousHandler):
    """A job of one node, in memory."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[str] = []
        self.error = error

    def get_backend(self) -> str:
        return "alone"

    def next_rendezvous(self) -> RendezvousInfo:
        self.calls.append("next_rendezvous")
        if self.error:
            raise self.error
        return RendezvousInfo(Dict(), 0, 1)

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        self.calls.append("set_closed")

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return "job"

    def shutdown(self) -> bool:
        self.calls.append("shutdown")
        return True


class Dict:
    """A store of one process."""

    timeout = 1.0

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def set(self, key: str, value: bytes) -> None:
        self.values[key] = value

    def get(self, key: str) -> bytes:
        return self.values[key]

    def multi_get(self, keys: list[str]) -> list[bytes]:
        return [self.values[key] for key in keys]

    def check(self, keys: list[str]) -> bool:
        return all(key in self.values for key in keys)

    def wait(self, keys: list[str]) -> None:
        if not self.check(keys):
            raise TimeoutError

    def add(self, key: str, amount: int) -> int:
        value = int(self.values.get(key, b"0")) + amount
        self.values[key] = str(value).encode()
        return value
