"""What the directory of a run's logs is called."""

import pytest

from elaunch.log_layout import run_name


@pytest.mark.parametrize(
    ("run_id", "endpoint", "name"),
    [
        ("job", "node0:29500", "job"),
        ("none", "node0:29500", "none-node0-29500"),
        ("none", "[fe80::1]:29500", "none-fe80-1-29500"),
        ("none", "a/../b:1", "none-a-..-b-1"),
        ("none", "", "none"),
    ],
)
def test_jobs_without_an_id_are_called_after_their_endpoint(
    run_id: str, endpoint: str, name: str
) -> None:
    assert run_name(run_id, endpoint) == name
