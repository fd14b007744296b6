"""The check ``endpoint``."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from elaunch.api import PreflightContext, PreflightResult
from elaunch.preflights.endpoint import Endpoint, Target, targets
from elaunch.preflights.options import EndpointOptions
from elaunch.testing import PreflightContract


def look(
    where: str, *, listening: bool = False, timeout: float = 10
) -> PreflightResult:
    endpoint = Endpoint(EndpointOptions(listening=listening, timeout=timeout), where)

    return asyncio.run(endpoint.check(PreflightContext()))


@pytest.fixture
def listener() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def deaf() -> Iterator[str]:
    """A port that is taken, so that nobody else listens there, and refuses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def full() -> Iterator[str]:
    """A port that answers nobody any more: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        waiting = []
        while True:
            client = socket.socket()
            waiting.append(client)
            client.settimeout(0.2)
            try:
                client.connect(address)
            except TimeoutError:
                break
        yield f"127.0.0.1:{address[1]}"
        for client in waiting:
            client.close()


class TestContract(PreflightContract):
    @pytest.fixture
    def fit(self, listener: str) -> Endpoint:
        return Endpoint(EndpointOptions(), listener)

    @pytest.fixture
    def unfit(self, deaf: str) -> Endpoint:
        return Endpoint(EndpointOptions(listening=True), deaf)


def test_who_listens_is_reached(listener: str) -> None:
    result = look(listener, listening=True)

    assert result.problem == ""
    assert result.facts["address"] == listener


def test_a_host_that_refuses_is_there_unless_somebody_must_listen(deaf: str) -> None:
    assert look(deaf).problem == ""
    assert look(deaf, listening=True).problem == (
        f"{deaf!r} can be reached, but nobody listens there"
    )


def test_who_does_not_answer_in_time_is_told(full: str) -> None:
    result = look(full, timeout=0.5)

    assert result.problem == f"{full!r} has not answered within 0.4 s"


def test_a_name_that_nobody_knows_is_told() -> None:
    result = look("nowhere.invalid:29400")

    assert result.problem.startswith(
        "'nowhere.invalid:29400' is a name that can't be resolved: "
    )


def test_a_password_in_an_address_is_told_to_nobody(deaf: str) -> None:
    result = look(f"http://user:secret@{deaf},{deaf}", listening=True)

    assert "secret" not in repr(result)
    assert result.facts["address"] == f"{deaf},{deaf}"


def test_one_of_several_is_enough_and_the_others_are_facts(
    listener: str, deaf: str
) -> None:
    result = look(f"{deaf},http://{listener}", listening=True)

    assert result.problem == ""
    assert result.facts["address"] == listener
    assert result.facts["unreachable"] == [
        f"{deaf!r} can be reached, but nobody listens there"
    ]


def test_none_of_several_is_a_problem_that_names_all(deaf: str) -> None:
    problem = look(f"{deaf},nowhere.invalid:1", listening=True).problem

    assert repr(deaf) in problem
    assert "'nowhere.invalid:1'" in problem


@pytest.mark.parametrize("where", ["localhost:0", "localhost"])
def test_a_name_without_a_port_must_be_known_alone(where: str) -> None:
    assert look(where, listening=True).problem == ""


def test_a_directory_must_be_one_that_can_be_made_or_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(mode=0o755)  # as if it could be entered

    assert look(str(tmp_path)).problem == ""
    assert look(str(tmp_path / "meet" / "here")).problem == ""
    assert not (tmp_path / "meet").exists()
    problem = look(str(file / "meet")).problem
    assert problem == f"{str(file)!r} can't be written to"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_directory_that_is_closed_to_the_user_is_a_problem(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    problem = look(str(tmp_path / "meet")).problem
    tmp_path.chmod(0o700)

    assert problem == f"{str(tmp_path)!r} can't be written to"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host:29400", [Target("host", 29400)]),
        ("host", [Target("host", None)]),
        ("[fe80::1]:80", [Target("fe80::1", 80)]),
        ("fe80::1", [Target("fe80::1", None)]),
        ("[::1]", [Target("::1", None)]),
        ("a:65535, ", [Target("a", 65535)]),
        ("https://u:p@a:1/x, b:2", [Target("a", 1), Target("b", 2)]),
    ],
)
def test_places_are_read(text: str, expected: list[Target]) -> None:
    assert targets(text) == expected


@pytest.mark.parametrize("text", [":1", "a:b", "a:65536", "http://", "a:-1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not of the form HOST:PORT"):
        targets(text)
