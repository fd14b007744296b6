"""Lives of one job id: events of a job that began anew are told apart.

`lives/` has what three real agents recorded: the host of the store, `node-a`, was
killed, and the other two formed the job again.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from elaunch_events_log.reading.clocks import aligned
from elaunch_events_log.reading.entry import Entry, parse
from elaunch_events_log.reading.lives import lives_of
from elaunch_events_log.reading.merge import merged
from elaunch_events_log.reading.selection import Selection
from elaunch_events_log.reading.sources import read
from elaunch_events_log.story.tell import stories


RECORDED = Path(__file__).parent / "lives"
FILES = [str(path) for path in sorted(RECORDED.glob("*.jsonl"))]


def events(*words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "elaunch", "events", *words],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    ).stdout


class TestRecorded:
    def test_the_story_has_a_heading_for_each_life(self) -> None:
        told = events(*FILES).splitlines()

        heads = [number for number, line in enumerate(told) if line.startswith("job ")]
        first, second = told[: heads[1]], told[heads[1] :]
        assert first[0].startswith("job job, life 1 of 2: began anew after 19.944 s, ")
        assert second[0].startswith("job job, life 2 of 2: succeeded after 0.144 s, ")
        assert "generation 1 (first generation): 3 nodes, 3 workers" in first
        assert "  ended: 1 not seen to end, 2 terminated" in first
        assert "generation 1 (first generation): 2 nodes, 2 workers" in second
        assert "  ended: 2 succeeded" in second

    def test_who_goes_on_in_the_next_life_is_not_missed_in_the_first(self) -> None:
        told = events(*FILES)

        silent = [line for line in told.splitlines() if "has told of no end" in line]
        assert silent == [
            "  node-a has told of no end; its last event is group.started"
        ]
        assert told.count("lost the job") == 2

    def test_a_list_names_the_life_of_each_event(self) -> None:
        told = [line.split()[2:5] for line in events("--list", *FILES).splitlines()]

        lives = [where.partition(":")[0] for where, _, _ in told]
        assert lives == ["life1"] * lives.count("life1") + ["life2"] * 18
        joined = [row[:2] for row in told if row[2] == "generation.joined"]
        assert sorted(joined) == [
            ["life1:g1", "node-a"],
            ["life1:g1", "node-b"],
            ["life1:g1", "node-c"],
            ["life2:g1", "node-b"],
            ["life2:g1", "node-c"],
        ]

    def test_with_a_filter_the_life_of_an_event_is_the_same(self) -> None:
        every = events("--list", *FILES).splitlines()
        some = events("--name", "worker.*", "--host", "node-c", *FILES).splitlines()

        assert some == [x for x in every if " node-c worker." in x]
        assert len(some) == 4

    def test_as_json_events_are_as_they_were_life_by_life(self) -> None:
        told = events("--json", *FILES).splitlines()

        written = [
            line for name in FILES for line in Path(name).read_text().split("\n")
        ]
        assert sorted(told) == sorted(filter(None, written))
        ranks = [
            (e["metadata"]["group_size"], e["metadata"]["group_rank"])
            for e in map(json.loads, told)
            if e["name"] == "generation.joined"
        ]
        assert [size for size, _ in ranks] == [3, 3, 3, 2, 2]

    def test_the_page_has_a_timeline_for_each_life(self, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        events("--html", str(page), *FILES)

        text = page.read_text()
        assert text.count("<svg viewBox") == 2 + 2 * 5  # and its legends
        assert "<h1>job job, life 1 of 2: began anew" in text
        assert "<h1>job job, life 2 of 2: succeeded" in text
        assert "<title>job: elaunch events</title>" in text

    @pytest.mark.parametrize("without", [0, 1, 2])
    def test_they_are_told_apart_also_if_a_file_is_missing(self, without: int) -> None:
        files = [name for number, name in enumerate(FILES) if number != without]
        runs = stories(merged(read(files, Selection()).entries))

        assert [(run.life, run.lives) for run in runs] == [(1, 2), (2, 2)]
        assert [run.generations[0].world_size for run in runs] == [3, 2]

    def test_a_clock_that_is_wrong_is_corrected_in_both(self) -> None:
        entries = [
            shifted(entry, 3600.0) if entry.host == "node-c" else entry
            for entry in read(FILES, Selection()).entries
        ]
        corrected, notes = aligned(entries)
        runs = stories(merged(corrected))

        assert notes == [
            "the clock of node-c is 3600.0 s ahead; its times are corrected"
        ]
        assert [run.nodes for run in runs] == [
            ["node-a", "node-b", "node-c"],
            ["node-b", "node-c"],
        ]
        assert all(run.ended - run.began < 21 for run in runs)


def shifted(entry: Entry, seconds: float) -> Entry:
    found = parse(
        json.dumps(
            {
                "name": entry.name,
                "source": entry.source,
                "timestamp": entry.time + seconds,
                "run_id": entry.run_id,
                "host": entry.host,
                "agent": entry.agent,
                "sequence": entry.sequence,
                "generation": entry.generation,
                "metadata": dict(entry.facts),
            }
        )
    )
    assert found
    return found


class Node:
    """What one agent records."""

    def __init__(self, host: str, agent: str = "") -> None:
        self.host, self.agent = host, agent or f"agent-{host}"
        self.entries: list[Entry] = []

    def tells(self, time: float, name: str, generation: int, /, **facts: Any) -> None:
        found = parse(
            json.dumps(
                {
                    "name": name,
                    "timestamp": time,
                    "run_id": "job",
                    "host": self.host,
                    "agent": self.agent,
                    "sequence": len(self.entries),
                    "generation": generation,
                    "metadata": facts,
                }
            )
        )
        assert found
        self.entries.append(found)

    def joins(
        self, time: float, generation: int, rank: int, size: int = 2, port: str = ""
    ) -> None:
        facts = {"group_rank": rank, "group_size": size, "world_size": size}
        self.tells(time, "generation.joined", generation, **facts)
        if port:
            meeting = {"generation": generation, "port": port, "group_rank": rank}
            self.tells(time + 0.1, "bootstrap.ready", generation, **meeting)


def lives(*nodes: Node) -> list[list[str]]:
    """Return the agents of each life."""
    found = lives_of(entry for node in nodes for entry in node.entries)
    return [sorted(own[0].agent for own in life.agents) for life in found]


def started_again(first: Sequence[Node], second: Sequence[Node]) -> list[list[str]]:
    """Return the lives of a job whose agents all ended and were started again."""
    for nodes, since in ((first, 100.0), (second, 400.0)):
        for generation in (1, 2):
            for rank, node in enumerate(nodes):
                node.joins(since + 10 * generation + rank, generation, rank)
    return lives(*second, *first)


def test_a_job_that_was_started_again_has_another_life() -> None:
    found = started_again(
        [Node("a", "a1"), Node("b", "b1")], [Node("a", "a2"), Node("b", "b2")]
    )

    assert found == [["a1", "b1"], ["a2", "b2"]]


def test_where_the_workers_meet_tells_lives_apart_whose_clocks_do_not() -> None:
    a, late_a = Node("a", "a1"), Node("a", "a2")
    b, late_b = Node("b", "b1"), Node("b", "b2")
    for node, time, rank, port in (
        (a, 100.0, 0, "1"),
        (late_a, 400.0, 0, "2"),
        (b, 3700.0, 1, "1"),
        (late_b, 4000.0, 1, "2"),
    ):
        node.joins(time, 1, rank, port=port)

    assert lives(a, late_a, b, late_b) == [["a1", "b1"], ["a2", "b2"]]


def test_a_node_that_comes_late_is_of_the_job_with_its_generation() -> None:
    a, b, other = Node("a"), Node("b"), Node("other")
    a.joins(100.0, 1, 0, size=1, port="1")
    other.joins(101.0, 1, 0, size=1, port="2")  # a job of that id somewhere else
    a.joins(102.0, 2, 0, port="3")
    b.joins(102.0, 2, 1, port="3")

    assert lives(a, b, other) == [["agent-a", "agent-b"], ["agent-other"]]


def test_two_agents_that_were_told_of_another_size_met_in_different_lives() -> None:
    a, b = Node("a"), Node("b")
    a.joins(100.0, 1, 0, size=3)
    b.joins(400.0, 1, 1, size=2)

    assert lives(a, b) == [["agent-a"], ["agent-b"]]


def test_nodes_that_come_and_go_are_all_of_one_life() -> None:
    a, b, c, d = (Node(name) for name in "abcd")
    a.joins(100.0, 1, 0)
    b.joins(100.0, 1, 1)
    b.joins(200.0, 2, 0)  # without the first
    c.joins(200.0, 2, 1)
    c.joins(300.0, 3, 0, size=1)  # and without the second
    d.joins(400.0, 4, 0, size=1)  # nobody has seen both

    assert lives(d, c, b, a) == [["agent-a", "agent-b", "agent-c", "agent-d"]]


def test_an_early_generation_that_comes_after_late_ones_is_of_the_next_life() -> None:
    a, b = Node("a"), Node("b")
    for generation in (2, 3, 4):  # the file with its first is lost
        a.joins(100.0 * generation, generation, 0)
    b.joins(500.0, 1, 1)

    assert lives(a, b) == [["agent-a"], ["agent-b"]]


def test_a_node_that_waits_in_vain_does_so_in_the_life_that_runs() -> None:
    a, b = Node("a", "a1"), Node("a", "a2")
    early, spare = Node("early"), Node("spare")
    a.joins(100.0, 1, 0)
    b.joins(400.0, 1, 0)
    early.tells(50.0, "agent.started", 0)
    spare.tells(450.0, "agent.started", 0)

    assert lives(spare, a, b, early) == [["a1", "agent-early"], ["a2", "agent-spare"]]


def test_an_agent_that_joins_the_same_generation_again_lives_again() -> None:
    a = Node("a")
    for time in (100.0, 200.0, 300.0):
        a.joins(time, 1, 0)
        a.joins(time + 50, 2, 0)

    found = lives_of(a.entries)
    assert [(life.number, life.of) for life in found] == [(1, 3), (2, 3), (3, 3)]
    assert [[e.generation for e in life.agents[0]] for life in found] == [[1, 2]] * 3
