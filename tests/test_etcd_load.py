"""What agents ask of an etcd server, as the benchmark counts it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from elaunch.api import UsageError
from elaunch_rdzv_etcd.local.binary import find_binary


BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "rendezvous_etcd.py"
TOTALS = re.compile(r"without renewals, (\S+): ([\d.]+) of 4, ([\d.]+) of 24 nodes")


@pytest.mark.etcd
def test_what_a_node_asks_of_etcd_does_not_grow_with_the_job() -> None:
    try:
        find_binary()
    except UsageError as error:
        pytest.skip(str(error))
    sizes = ("--nodes", "4", "24", "--rounds", "1")
    no_more = ("--leases", "0", "--starts", "0", "--no-torch")

    told = subprocess.run(
        [sys.executable, str(BENCHMARK), *sizes, *no_more],
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    ).stdout
    totals = [
        (name, float(few), float(many)) for name, few, many in TOTALS.findall(told)
    ]

    # Over one server, then over three.
    assert [name for name, _, _ in totals] == ["etcd", "etcd-v2"] * 2, told
    # A watch of the v2 API asks again after what it has seen, be it one change or more.
    assert all(many < 1.5 * few for _, few, many in totals), told
