"""One order for the events of all nodes."""

import json
from typing import Any

from elaunch_events_log.reading.entry import Entry, parse
from elaunch_events_log.reading.merge import merged


def entry(  # one line, as an agent writes it
    name: str,
    time: float,
    *,
    agent: str = "a",
    sequence: int = 0,
    generation: int = 1,
    run_id: str = "job",
    host: str = "",
    **facts: Any,
) -> Entry:
    found = parse(
        json.dumps(
            {
                "schema": 1,
                "name": name,
                "source": "AGENT",
                "timestamp": time,
                "run_id": run_id,
                "host": host or f"host-{agent}",
                "agent": agent,
                "sequence": sequence,
                "generation": generation,
                "metadata": facts,
            }
        )
    )
    assert found
    return found


def order(*entries: Entry) -> list[str]:
    return [placed.entry.name for placed in merged(entries)]


def test_within_a_generation_time_decides() -> None:
    assert order(
        entry("second", 2.0, agent="b"),
        entry("third", 3.0, sequence=1),
        entry("first", 1.0),
    ) == ["first", "second", "third"]


def test_a_generation_comes_after_the_one_before_whatever_the_clocks_say() -> None:
    told = order(
        entry("generation.joined", 100.0, agent="a", sequence=0, generation=2),
        entry("stopped", 500.0, agent="b", sequence=0, generation=1),
    )

    assert told == ["stopped", "generation.joined"]


def test_what_an_agent_told_stays_in_its_order_when_its_clock_is_set_back() -> None:
    told = order(
        entry("one", 10.0, sequence=0),
        entry("two", 4.0, sequence=1),
        entry("other", 7.0, agent="b"),
    )

    assert told == ["other", "one", "two"]


def test_a_node_that_waited_did_so_in_the_generation_before_its_first() -> None:
    told = order(
        entry("generation.joined", 1.0, sequence=0, generation=1),
        entry("stopped", 8.0, sequence=1, generation=1),
        entry("generation.joined", 9.0, sequence=2, generation=2),
        entry("waiting", 5.0, agent="b", sequence=0, generation=0),
        entry("b.joined", 9.1, agent="b", sequence=1, generation=2),
    )

    assert told == [
        "generation.joined",
        "waiting",
        "stopped",
        "generation.joined",
        "b.joined",
    ]


def test_a_node_that_never_was_a_member_is_placed_by_its_clock() -> None:
    told = order(
        entry("generation.joined", 1.0, sequence=0, generation=1),
        entry("generation.joined", 9.0, sequence=1, generation=2),
        entry("early", 0.5, agent="b", sequence=0, generation=0),
        entry("late", 12.0, agent="b", sequence=1, generation=0),
    )

    assert told == ["early", "generation.joined", "generation.joined", "late"]


def test_a_job_that_begins_anew_counts_again_in_another_era() -> None:
    told = order(
        entry("generation.joined", 1.0, sequence=0, generation=1),
        entry("g7", 20.0, sequence=1, generation=7),
        entry("again", 30.0, sequence=2, generation=1),
        entry("late.comer", 31.0, agent="b", generation=1),
    )

    assert told == ["generation.joined", "g7", "again", "late.comer"]


def test_jobs_come_one_after_the_other() -> None:
    told = order(
        entry("two", 2.0, run_id="later"),
        entry("one", 1.0, run_id="first", generation=5),
        entry("three", 3.0, run_id="first", generation=6, sequence=1),
    )

    assert told == ["one", "three", "two"]


def test_events_without_an_agent_are_ordered_by_time() -> None:
    told = order(
        entry("two", 2.0, agent="", sequence=0), entry("one", 1.0, agent="", sequence=0)
    )

    assert told == ["one", "two"]
