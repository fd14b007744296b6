"""The story that the events of a run tell, as values, text and page."""

import html.parser
import itertools
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from typing import Any

import attrs
import pytest

from elaunch_events_log.reading.clocks import aligned
from elaunch_events_log.reading.entry import Entry, parse
from elaunch_events_log.reading.merge import merged
from elaunch_events_log.story.page import page
from elaunch_events_log.story.picture import picture
from elaunch_events_log.story.run import Run
from elaunch_events_log.story.tell import stories
from elaunch_events_log.story.text import as_line, as_text


class Log:
    """What one agent writes."""

    def __init__(self, host: str, agent: str, skew: float = 0.0) -> None:
        self.host, self.agent, self.skew = host, agent, skew
        self.entries: list[Entry] = []
        self.generation = 0

    def __call__(self, time: float, name: str, **facts: Any) -> None:
        if name == "generation.joined":
            self.generation = facts["generation"]
        document = {
            "name": name,
            "source": "WORKER" if name.startswith("worker.") else "AGENT",
            "timestamp": 1_000_000 + time + self.skew,
            "run_id": "job",
            "host": self.host,
            "agent": self.agent,
            "sequence": len(self.entries),
            "generation": self.generation,
            "metadata": facts,
        }
        entry = parse(json.dumps(document))
        assert entry
        self.entries.append(entry)

    def joins(self, time: float, generation: int, base: int, **facts: Any) -> None:
        self(
            time,
            "generation.joined",
            generation=generation,
            group_rank=base // 2,
            world_size=4,
            ranks=[base, base + 1],
            restart_count=generation - 1,
            duration_ms=500.0,
            reason=f"reason {generation}",
            **facts,
        )
        for rank in (base, base + 1):
            self(time + 0.1, "worker.started", rank=rank, pid=100 + rank)
        self(time + 0.25, "group.started")

    def ends(self, time: float, kind: str, rank: int, **facts: Any) -> None:
        self(time, f"worker.{kind}", rank=rank, **facts)


MESSAGE = "ValueError: <script>alert('&')</script> \x1b[31m"


@pytest.fixture
def logs() -> list[Log]:
    """Two nodes whose clocks differ by an hour; rank 2 fails, then all succeed."""
    one, two = Log("one", "a"), Log("two", "b", skew=3600.0)
    for log, base in ((one, 0), (two, 2)):
        log(0.0, "agent.started")
        log.joins(1.0, 1, base)
    failed_at = 1_000_000 + 5.0 + two.skew
    two.ends(5.5, "failed", 2, failed_at=failed_at, exitcode=1, message=MESSAGE)
    two(5.75, "group.stopping", reason="rank 2 failed")
    one(5.75, "group.stopping", reason="rank 2 on 'two' failed")
    two.ends(6.0, "terminated", 3, exitcode=-15, signal="SIGTERM")
    two(6.0, "group.stopped")
    for rank in (0, 1):
        one.ends(6.5, "terminated", rank, exitcode=-15, signal="SIGTERM")
    one(6.75, "group.stopped")
    for log, base in ((one, 0), (two, 2)):
        log.joins(8.0, 2, base)
        for rank in (base, base + 1):
            log.ends(10.0, "succeeded", rank, exitcode=0)
        log(10.0, "group.succeeded")
        log(10.5, "job.succeeded")
        log(10.5, "agent.finished", status=0)
    return [one, two]


def told(logs: Iterable[Log]) -> Run:
    entries, _ = aligned([entry for log in logs for entry in log.entries])
    (run,) = stories(merged(entries))
    return run


def phases(run: Run, generation: int) -> dict[str, tuple[float, str]]:
    found = run.generations[generation - 1].phases
    return {p.name: (round(p.seconds, 6), p.node) for p in found}


def test_generations_have_their_nodes_and_reasons(logs: list[Log]) -> None:
    run = told(logs)

    assert run.outcome == "succeeded"
    assert run.nodes == ["one", "two"]
    assert [g.number for g in run.generations] == [1, 2]
    first, second = run.generations
    assert first.nodes == {"one": [0, 1], "two": [2, 3]}
    assert (first.reason, second.reason, second.restarts) == ("reason 1", "reason 2", 1)


def test_each_phase_is_measured_where_it_took_longest(logs: list[Log]) -> None:
    run = told(logs)

    first = phases(run, 1)
    assert first["rendezvous"][0] == 0.5
    assert first["spawn"][0] == 0.25
    assert first["ran"] == (4.25, "two")
    assert first["stop"] == (1.0, "one")
    assert "down" not in first


def test_the_start_of_a_generation_ends_with_the_last_first_heartbeat() -> None:
    one, two = Log("one", "a"), Log("two", "b")
    for log, base in ((one, 0), (two, 2)):
        log.joins(1.0, 1, base)
        log(2.0, "worker.first_heartbeat", rank=base)
    two(3.25, "worker.first_heartbeat", rank=3)
    assert phases(told([one, two]), 1)["first heartbeat"] == (2.0, "two")
    one(4.5, "worker.first_heartbeat", rank=1)

    assert phases(told([one, two]), 1)["first heartbeat"] == (3.25, "one")


def test_without_heartbeats_it_has_no_such_end(logs: list[Log]) -> None:
    assert "first heartbeat" not in phases(told(logs), 1)


def test_detection_counts_until_the_last_node_knows() -> None:
    one, two = Log("one", "a"), Log("two", "b")
    for log, base in ((one, 0), (two, 2)):
        log.joins(1.0, 1, base)
    two.ends(5.5, "failed", 2, failed_at=1_000_005.0)
    two(5.75, "group.stopping", reason="x")
    one(6.0, "group.stopping", reason="x")
    for log, base in ((one, 0), (two, 2)):
        log.joins(8.0, 2, base)

    run = told([one, two])
    assert phases(run, 1)["detect"] == (1.0, "one")
    assert phases(run, 2)["down"] == (3.25, "")


def test_a_clock_that_is_wrong_is_corrected_and_told(logs: list[Log]) -> None:
    entries, notes = aligned([entry for log in logs for entry in log.entries])

    assert notes == ["the clock of two is 3600.0 s ahead; its times are corrected"]
    assert told(logs).ended - told(logs).began == 10.5
    assert phases(told(logs), 1)["detect"][0] == 0.75
    assert {entry.line for entry in entries} == {
        entry.line for log in logs for entry in log.entries
    }


def test_clocks_that_hardly_differ_stay_as_they_are(logs: list[Log]) -> None:
    for log in logs:
        log.entries = [attrs.evolve(e, time=e.time % 3600) for e in log.entries]
    _, notes = aligned([entry for log in logs for entry in log.entries])

    assert notes == []


def test_a_node_that_told_no_end_is_named(logs: list[Log]) -> None:
    logs[1].entries = [e for e in logs[1].entries if e.time < 1_003_606.1]

    assert told(logs).remarks == [
        "two has told of no end; its last event is group.stopped"
    ]


def test_what_nodes_were_told_to_do_is_told(logs: list[Log]) -> None:
    for refused in ("", "it leaves"):
        facts = {"reason": "new kernel", "peer": "process 7 of user 0"}
        logs[1](9.0, "control.request", request="drain", refused=refused, **facts)

    assert [remark for remark in told(logs).remarks if "drain" in remark] == [
        "two was asked to drain: new kernel",
        "two was asked to drain: it leaves",
    ]


def test_a_node_that_was_not_fit_is_told_and_that_it_was_again(
    logs: list[Log],
) -> None:
    facts = {"preflight": "disk", "seconds": 0.1}
    logs[0](1.0, "preflight.passed", attempt=1, **facts)
    logs[1](1.0, "preflight.failed", attempt=1, reason="full", required=True, **facts)
    logs[1](9.0, "preflight.passed", attempt=3, **facts)

    assert [remark for remark in told(logs).remarks if "preflight '" in remark] == [
        "two failed preflight 'disk': full",
        "two passed preflight 'disk' after that",
    ]


def test_a_job_that_failed_tells_its_root_cause(logs: list[Log]) -> None:
    facts = {"rank": 2, "host": "two", "exitcode": 1, "message": "boom"}
    logs[0](11.0, "job.failed", report="/one.json", **facts)
    logs[1](11.0, "job.failed", report="/two.json", location="t.py:4", **facts)
    run = told(logs)

    assert run.outcome == "failed"
    assert run.root_cause == "rank 2 on two: exit code 1: boom"
    assert run.report == "/two.json on two"


def test_a_job_that_is_handed_back_is_told_as_that_and_why(logs: list[Log]) -> None:
    facts = {"rank": 2, "host": "two", "exitcode": 1, "message": "boom"}
    for verdict, reason in (("restart", "1 of 3"), ("hand back", "no GPU")):
        logs[0](10.9, "policy.decided", verdict=verdict, reason=reason)
    for log in logs:
        log(11.0, "job.failed", handed_back=True, **facts)
    run = told(logs)
    text = as_text(run)

    assert run.outcome == "handed back"
    assert text.startswith("job job: handed back after ")
    assert "  root cause: rank 2 on two: exit code 1: boom" in text
    assert re.findall("  decided: .*", text) == ["  decided: hand back: no GPU"]
    assert "<h1>job job: handed back after " in page([run], [])


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        ((75, 75), "ended with exit code 75"),
        ((0, 4), "ended with exit code 4"),
        ((0, 0), ""),
        ((75,), ""),
    ],
)
def test_a_job_that_neither_succeeded_nor_failed_has_an_exit_code(
    statuses: tuple[int, ...], outcome: str
) -> None:
    logs = [Log("one", "a"), Log("two", "b")]
    for rank, log in enumerate(logs):
        log.joins(1.0, 1, 2 * rank)
    for log, status in zip(logs, statuses, strict=False):
        log(9.0, "agent.finished", status=status)

    assert told(logs).outcome == outcome


def test_a_finding_leads_to_the_stacks_of_its_worker() -> None:
    log = Log("one", "a")
    log.joins(1.0, 1, 0)
    hang = {"severity": "unhealthy", "reason": "silent"}
    log(2.0, "monitor.finding", rank=1, stacks=["/s/rank-1.txt", "/s/0"], **hang)
    log(3.0, "monitor.finding", rank=None, stacks=[], **hang)
    (run,) = stories(merged(log.entries))

    (generation,) = run.generations
    assert generation.findings == [
        "rank 1: unhealthy: silent (stacks: /s/rank-1.txt)",
        "unhealthy: silent",
    ]


def test_agents_of_one_host_are_told_apart() -> None:
    one, two = Log("host", "a"), Log("host", "b")
    for log, base in ((one, 0), (two, 2)):
        log.joins(1.0, 1, base)

    assert told([one, two]).nodes == ["host[a]", "host[b]"]


def test_the_text_tells_all_of_it(logs: list[Log]) -> None:
    text = as_text(told(logs))

    for line in (
        "generation 1 (reason 1): 2 nodes, 4 workers",
        "  joined: one (ranks 0-1), two (ranks 2-3)",
        "generation 2 (reason 2): 2 nodes, 4 workers, restart 1",
        "  ended: 4 succeeded",
        "  stopped: rank 2 on 'two' failed",
    ):
        assert line in text.splitlines()
    assert "rank 2 on two: exit code 1: ValueError: <script>" in text


def test_what_an_event_says_does_nothing_to_a_terminal(logs: list[Log]) -> None:
    assert "\x1b" not in as_text(told(logs))
    assert "\\x1b" in as_text(told(logs))
    for entry in logs[1].entries:
        assert "\x1b" not in as_line(entry, "n\x1b\n")
        assert "\n" not in as_line(entry, "n\x1b\n")


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_needs_nothing_else_and_runs_nothing(logs: list[Log]) -> None:
    text = page([told(logs)], ["a note <b>"])
    tags = Tags()
    tags.feed(text)

    names = {name for name, _ in tags.tags}
    assert names.isdisjoint({"script", "img", "link", "iframe", "b", "object", "a"})
    found = {key for _, attributes in tags.tags for key in attributes}
    assert found.isdisjoint({"src", "href", "onload", "onclick"})
    assert "url(" not in text
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt; \\x1b[31m" in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text


def test_the_page_has_a_table_beside_the_picture(logs: list[Log]) -> None:
    text = page([told(logs)], [])

    rows = re.findall(r"<tr>.*?</tr>", text, re.DOTALL)
    assert len(rows) == 2 + 2 + 4 + 0  # heads, generations, nodes in generations
    assert '<th scope="row">generation 1 (reason 1): 2 nodes, 4 workers</th>' in text


def test_the_picture_has_a_bar_for_each_worker_and_marks_failures(
    logs: list[Log],
) -> None:
    tree = ET.fromstring(picture(told(logs)))  # noqa: S314 - our own

    bars = [g for g in tree.iter("g") if g.find("rect[@rx]") is not None]
    kinds = [bar[1].get("class") for bar in bars]
    assert sorted(map(str, kinds)) == (
        ["failed"] + ["succeeded"] * 4 + ["terminated"] * 3
    )
    (failed,) = [bar for bar in bars if bar[1].get("class") == "failed"]
    marked = [g for g in tree.iter("g") if g.find("path[@class='mark']") is not None]
    assert [g[0].text for g in marked] == [failed[0].text]
    assert [*tree].index(marked[0]) > max([*tree].index(bar) for bar in bars)
    assert "rank 2 on two, pid 102: failed" in str(failed[0].text)
    assert [t.text for t in tree.iter("text") if t.get("class") == "row"] == [
        f"rank {rank}" for rank in range(4)
    ]


def test_a_job_of_very_many_workers_has_a_row_for_each_node() -> None:
    logs = []
    for node in range(300):
        log = Log(f"host-{node}", f"a{node}")
        log.joins(1.0, 1, 2 * node)
        logs.append(log)
    logs[7].ends(2.0, "failed", 14, message="boom")
    tree = ET.fromstring(picture(told(logs)))  # noqa: S314 - our own

    bars = [g for g in tree.iter("g") if g.find("rect[@rx]") is not None]
    assert len(bars) == 300
    (failed,) = [bar for bar in bars if bar[1].get("class") == "failed"]
    assert "host-7" in str(failed[0].text)
    assert "boom" in str(failed[0].text)


def test_events_that_make_no_sense_make_a_story_all_the_same() -> None:
    log = Log("h", "a")
    log(1.0, "generation.joined", generation=1, ranks="all", group_rank=None)
    log(1.0, "worker.started", rank="first")
    log(1.0, "worker.started", rank=0, pid=[])
    log(1.0, "worker.failed", rank=0, exitcode="x", failed_at={}, message=4)
    log(1.0, "job.failed")
    log(1.0, "events.lost", count="many")
    run = told([log])

    assert as_text(run)
    assert page([run], [])


def test_what_is_short_or_long_is_labelled_so_that_it_can_be_read() -> None:
    log = Log("h", "a")
    for number in range(1, 401):
        log.joins(10.0 * number, number, 0)
    tree = ET.fromstring(picture(told([log])))  # noqa: S314 - our own

    texts = [text for text in tree.iter("text") if text.get("class") != "row"]
    numbers = [text for text in texts if text.get("y") == "13"]
    places = [float(str(text.get("x"))) for text in numbers]
    assert 10 < len(numbers) < 100
    assert min(b - a for a, b in itertools.pairwise(places)) > 10
    (last,) = [text for text in texts if text.get("text-anchor") == "end"]
    assert "3990 s" in (last[0].tail or "")


def test_clocks_that_are_very_far_apart_end_no_story() -> None:
    one, two = Log("one", "a"), Log("two", "b")
    one.joins(0.0, 1, 0)
    two.joins(6e10, 1, 2)
    two(-1_000_000, "agent.finished")
    run = told([one, two])

    assert run.began == 0.0
    assert as_text(run)
    assert page([run], [])
