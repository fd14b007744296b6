"""Settings of output: what users write, and what it means for each stream."""

from typing import Any

import pytest

from elaunch.cli.output import parse_needles, parse_size
from elaunch.config import LaunchConfig
from elaunch.errors import UsageError
from elaunch.output import OutputSettings, RankSet, Std, line_prefix
from elaunch.workers import WorkerRanks


def ranks(local_rank: int, rank: int | None = None) -> WorkerRanks:
    return WorkerRanks(
        local_rank=local_rank,
        rank=local_rank if rank is None else rank,
        role_rank=local_rank,
    )


@pytest.mark.parametrize(
    ("text", "streams"),
    [
        ("0", Std.NONE),
        ("3", Std.ALL),
        ("0:1", {0: Std.OUT}),
        ("0:1,12:3", {0: Std.OUT, 12: Std.ALL}),
        (" 1:2 , 2:0 ", {1: Std.ERR, 2: Std.NONE}),
    ],
)
def test_streams_are_spelled_as_torchrun_does(text: str, streams: object) -> None:
    assert Std.from_str(text) == streams


@pytest.mark.parametrize("text", ["", "4", "12", "0:4", "0:1,", "1:", "a", "0:1;1:1"])
def test_other_streams_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"0 \(none\).*0:1,1:3, not"):
        Std.from_str(text)


def test_ranks_are_numbers_and_ranges() -> None:
    found = RankSet.from_str("0, 4-7,12")

    assert [rank for rank in range(20) if rank in found] == [0, 4, 5, 6, 7, 12]


@pytest.mark.parametrize("text", ["", "a", "1,", "-1", "7-4", "1-", "0x1"])
def test_other_ranks_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="for example 0,4-7, not"):
        RankSet.from_str(text)


@pytest.mark.parametrize(
    ("settings", "out", "err"),
    [
        ({}, (False, True), (False, True)),
        ({"log_dir": "x"}, (True, True), (True, True)),
        ({"log_dir": "x", "tee": "0"}, (False, True), (False, True)),
        ({"log_dir": "x", "redirects": "2"}, (False, True), (True, False)),
        ({"redirects": "3", "tee": "1"}, (True, True), (True, False)),
        ({"redirects": {1: 3}}, (True, False), (True, False)),
        ({"redirects": {0: 3}}, (False, True), (False, True)),
        ({"tee": "3", "local_ranks_filter": "0"}, (True, False), (True, False)),
        ({"tee": "3", "local_ranks_filter": {1}}, (True, True), (True, True)),
        ({"ranks_filter": "1"}, (False, False), (False, False)),
        ({"ranks_filter": "5"}, (False, True), (False, True)),
        ({"ranks_filter": "5", "local_ranks_filter": "0"}, (False,) * 2, (False,) * 2),
    ],
)
def test_each_stream_of_local_rank_1_and_rank_5_has_a_route(
    settings: dict[str, Any], out: tuple[bool, bool], err: tuple[bool, bool]
) -> None:
    routes = OutputSettings(**settings).routes(ranks(1, 5))

    assert (routes.stdout.file, routes.stdout.console) == out
    assert (routes.stderr.file, routes.stderr.console) == err
    assert not routes.stdout.terminal


@pytest.mark.parametrize("more", [{}, {"redirects": "3"}, {"tee": "1"}])
def test_what_is_to_go_to_the_null_device_is_shown_instead(
    more: dict[str, Any],
) -> None:
    settings = OutputSettings(log_dir="/dev/null", local_ranks_filter="1", **more)

    for local_rank, shown in ((0, False), (1, True)):
        route = settings.routes(ranks(local_rank, 5)).stdout
        assert (route.file, route.console) == (False, shown)
    assert not settings.keeps_files


def test_a_rank_to_debug_needs_no_files() -> None:
    settings = OutputSettings(debug_rank=2, log_dir="/dev/null")

    assert settings.routes(ranks(0, 2)).stdout.terminal
    other = settings.routes(ranks(1, 3)).stdout
    assert (other.file, other.console, other.terminal) == (False, False, False)


def test_a_rank_to_debug_has_the_terminal_and_all_others_have_files() -> None:
    settings = OutputSettings(debug_rank=2, ranks_filter="0", tee="3")

    mine, other = settings.routes(ranks(0, 2)), settings.routes(ranks(1, 3))
    assert mine.stdout == mine.stderr
    assert (mine.stdout.terminal, mine.stdout.file) == (True, False)
    assert (other.stdout.file, other.stdout.console, other.stdout.terminal) == (
        *(True, False),
        False,
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"log_max_bytes": -1},
        {"log_backups": -1},
        {"log_retention": -1},
        {"debug_rank": -1},
        {"redirects": "9"},
        {"ranks_filter": "a"},
        {"logs_specs": "one", "log_layout": "other"},
    ],
)
def test_a_launch_refuses_settings_that_mean_nothing(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=1, **wrong)


NAMES = {"role": "default", "rank": "5", "local_rank": "1", "host": "one"}


@pytest.mark.parametrize(
    ("template", "role", "alone", "prefix"),
    [
        (None, "default", False, "[5] "),
        (None, "trainer", False, "[trainer:5] "),
        (None, "trainer", True, ""),
        ("{host}/{rank}: ", "default", True, "one/5: "),
        ("[${role_name}${local_rank}]:", "trainer", False, "[trainer1]:"),
        ("${rank} ${other} {other}", "default", False, "5 ${other} {other}"),
        ("", "default", False, ""),
    ],
)
def test_a_line_begins_with_what_the_template_says(
    template: str | None, role: str, *, alone: bool, prefix: str
) -> None:
    assert line_prefix(template, {**NAMES, "role": role}, alone=alone) == prefix


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("0", 0), ("4096", 4096), ("64K", 65536), ("10m", 10 << 20)),
        *(("2GiB", 2 << 30), ("1 TB", 1 << 40), ("7b", 7)),
    ],
)
def test_sizes_have_units(text: str, size: int) -> None:
    assert parse_size(text, "--flag") == size


@pytest.mark.parametrize("text", ["", "-1", "1.5M", "M", "1X", "64 Kilo"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--flag is a number of bytes.*not"):
        parse_size(text, "--flag")


def test_a_comma_in_a_needle_is_written_twice() -> None:
    assert parse_needles("loss,a,,b,nan") == ("loss", "a,b", "nan")
    assert parse_needles("") == ()
