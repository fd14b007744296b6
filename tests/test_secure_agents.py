"""Agents that show each other that they belong to the job, as real processes."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from agents import Launch


Script = Callable[[str], str]

SECRET = "correct horse battery staple"  # noqa: S105 - of these tests
OTHER = "another secret of some others"

SHOW = """
import os
print("rank", os.environ["RANK"], "knows", "ELAUNCH_RDZV_TOKEN" in os.environ)
"""
PAUSE = "import signal; print('up', flush=True); signal.pause()"


def job(endpoint: str, backend: str, rank: int, *conf: str) -> list[str]:
    return [
        *("-v", "--rdzv-backend", backend, "--rdzv-endpoint", endpoint),
        *("--rdzv-id", "job", "--nnodes", "2", "--node-rank", str(rank)),
        *(("--rdzv-conf", ",".join(conf)) if conf else ()),
    ]


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.write_text(SECRET)
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def certificates(tmp_path: Path) -> str:
    """Options of a node with a certificate of the job."""
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "node.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    node = tmp_path / "node.pem"
    return f"tls_cert={node},tls_key={node},tls_ca={tmp_path / 'ca.pem'}"


@pytest.mark.parametrize("backend", ["c10d", "static"])
def test_a_job_with_a_token_runs(
    launch: Launch, endpoint: str, script: Script, token_file: str, backend: str
) -> None:
    worker = script(SHOW)
    from_file = launch(
        *job(endpoint, backend, 0, f"token_file={token_file}"),
        *("--event-recorder", "jsonl:path=events.jsonl", worker),
    )
    from_variable = launch(
        *job(endpoint, backend, 1), worker, ELAUNCH_RDZV_TOKEN=SECRET
    )

    assert [from_file.wait(), from_variable.wait()] == [0, 0]
    from_file.wait_for("rank 0 knows False")
    from_variable.wait_for("rank 1 knows False")
    events = Path(token_file).with_name("events.jsonl").read_text()
    for shown in (from_file.output, from_variable.output, events):
        assert "rank" in shown or "rendezvous" in shown
        assert SECRET not in shown


@pytest.mark.parametrize("backend", ["c10d", "static"])
@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"ELAUNCH_RDZV_TOKEN": OTHER}, "the token is not this job's"),
        ({}, "this store asks for the job's token"),
    ],
    ids=["another", "none"],
)
def test_who_has_not_the_token_is_told_at_once(
    launch: Launch,
    endpoint: str,
    script: Script,
    token_file: str,
    *,
    backend: str,
    variables: dict[str, str],
    reason: str,
) -> None:
    host = launch(*job(endpoint, backend, 0, f"token_file={token_file}"), script(PAUSE))
    host.wait_for("hosts|hosting|hosted")
    guest = launch(*job(endpoint, backend, 1), script(PAUSE), **variables)

    assert guest.wait() == 4
    guest.wait_for(
        f"elaunch: error: the store at '{endpoint}' refuses this node: {reason}"
    )
    host.wait_for(rf"refusing the connection of 127\.0\.0\.1:\d+: {reason}")
    assert "up" not in guest.lines
    for shown in (host.output, guest.output):
        assert SECRET not in shown
        assert OTHER not in shown
    host.send(signal.SIGTERM)
    assert host.wait() == 75


@pytest.mark.parametrize("backend", ["c10d", "static"])
def test_a_job_with_tls_runs(
    launch: Launch, endpoint: str, script: Script, certificates: str, backend: str
) -> None:
    worker = script(SHOW)
    agents = [
        launch(*job(endpoint, backend, rank, certificates), worker) for rank in range(2)
    ]

    assert [agent.wait() for agent in agents] == [0, 0]
    agents[0].wait_for("rank 0 knows")
    agents[1].wait_for("rank 1 knows")


def test_who_does_not_speak_tls_is_told_at_once(
    launch: Launch, endpoint: str, script: Script, certificates: str
) -> None:
    host = launch(*job(endpoint, "static", 0, certificates), script(PAUSE))
    host.wait_for("hosts|hosting|hosted")
    guest = launch(*job(endpoint, "static", 1), script(PAUSE))

    assert guest.wait() == 4
    guest.wait_for(
        "refuses this node: this store speaks TLS only; give --rdzv-conf tls_cert="
    )
    host.wait_for("elaunch: .*refusing the connection of .*: this store speaks")
    host.send(signal.SIGTERM)
    host.wait()


@pytest.mark.parametrize(
    ("backend", "conf", "message"),
    [
        ("c10d", ["token_file=absent"], "'absent' (token_file) can't be read: No such"),
        ("static", ["token_file=ok.py"], "is open to other users (mode 0644)"),
        ("c10d", [], "the token in ELAUNCH_RDZV_TOKEN has 5 bytes, fewer than 16"),
        ("static", ["tls_cert=c"], "'tls_key' and 'tls_ca' not given"),
    ],
)
def test_what_can_not_work_is_told_before_anything_is_opened(
    launch: Launch,
    endpoint: str,
    tmp_path: Path,
    *,
    backend: str,
    conf: list[str],
    message: str,
) -> None:
    script = tmp_path / "ok.py"
    script.write_text("print('ran')  # longer than a token must be")
    script.chmod(0o644)
    variables = {} if conf else {"ELAUNCH_RDZV_TOKEN": "short"}
    agent = launch(*job(endpoint, backend, 0, *conf), "ok.py", **variables)

    assert agent.wait() == 2
    assert message in agent.output
    assert "short" not in agent.output
    assert "ran" not in agent.lines
