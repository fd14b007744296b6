"""What a healthy job notices of thousands who connect to its stores: nothing."""

import contextlib
import resource
import signal
import socket
from pathlib import Path

from agents import Launch
from healthy_job import Job


OPENINGS = (
    b"",  # slow-loris
    b"\x00\xce\xf7",  # half a handshake
    b"\x00\xce\xf7\x85\x3c\x01" + bytes(7),  # half a request
    b"ELAUNCH1\n\xff",  # half a frame
    b"ELAUNCH1\n" + (1 << 30).to_bytes(4, "little"),  # one that is too long
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    b"\xff" * 100,
)
"""How port scanners and worse begin."""

MANY = 10_000


def pester(stack: contextlib.ExitStack, port: int, many: int) -> None:
    """Open so many connections, each of which says something and stays."""
    for number in range(many):
        connection = stack.enter_context(socket.socket())
        connection.settimeout(10.0)
        # Whoever says something that nobody understands is closed at once.
        with contextlib.suppress(ConnectionError):
            connection.connect(("127.0.0.1", port))
            connection.sendall(OPENINGS[number % len(OPENINGS)])


def test_ten_thousand_connections_keep_no_job_from_going_on(
    tmp_path: Path, launch: Launch
) -> None:
    job = Job.begin(tmp_path / "job", launch, launch)
    (agents,) = job.host.wait_for(r"hosts the store at '.*:(\d+)'")
    (workers,) = job.host.wait_for(r"bootstrap.ready .*port='(\d+)'")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = min(MANY, soft - 256) // 2
    with contextlib.ExitStack() as stack:
        pester(stack, int(agents[1]), many)
        pester(stack, int(workers[1]), many)
        (worker,) = job.other.workers()
        worker.send_signal(signal.SIGKILL)
        for agent in (job.host, job.other):
            agent.wait_for("works in generation 2 after 1 restarts")
        job.let_go()

        assert [agent.wait() for agent in (job.host, job.other)] == [0, 0]
    said = job.host.output + job.other.output
    assert said.count("works in generation") == 4
    assert said.count("closing the connection") < 100
