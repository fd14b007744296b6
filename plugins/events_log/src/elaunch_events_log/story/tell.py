"""From the events of one run, in order, to its story. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from elaunch_events_log.reading.entry import Entry
from elaunch_events_log.reading.lives import JOINED, Life
from elaunch_events_log.reading.merge import Placed
from elaunch_events_log.story.phases import phases_of
from elaunch_events_log.story.run import Generation, Run, Worker


_ENDS = {
    "worker.succeeded": "succeeded",
    "worker.failed": "failed",
    "worker.terminated": "terminated",
    "worker.preempted": "preempted",
}


_RESTART = "restart"
"""The verdict that the next generation has as its reason."""

Agent = tuple[str, str, str]
"""Its job, its host and its id."""

_PREFLIGHTS = ("preflight.failed", "preflight.passed")


def stories(events: Iterable[Placed]) -> list[Run]:
    """Return the story of each life of each job, in the order of their events."""
    lives: dict[tuple[str, int], list[Placed]] = {}
    last: dict[Agent, int] = {}
    for placed in events:
        entry, life = placed.entry, placed.life
        lives.setdefault((life.run_id, life.number), []).append(placed)
        last[_agent(entry)] = life.number
    return [_story(own, last) for own in lives.values()]


def _agent(entry: Entry) -> Agent:
    return entry.run_id, entry.host, entry.agent


def _story(events: Sequence[Placed], last: Mapping[Agent, int]) -> Run:
    life: Life = events[0].life
    label = labels(placed.entry for placed in events)
    by_number: dict[int, list[Entry]] = {}
    for placed in events:
        by_number.setdefault(placed.generation, []).append(placed.entry)
    formed = [n for n, own in by_number.items() if any(e.name == JOINED for e in own)]
    generations = [
        _generation(by_number[number], by_number[before] if before else (), label)
        for before, number in zip((None, *formed), formed, strict=False)
    ]
    entries = [placed.entry for placed in events]
    failed = [e for e in entries if e.name == "job.failed"]
    here = [e for e in entries if last[_agent(e)] == life.number]
    silent = _silent(here, label)
    return Run(
        run_id=life.run_id,
        life=life.number,
        lives=life.of,
        nodes=list(dict.fromkeys(label(e) for e in entries)),
        began=min(e.time for e in entries),
        ended=max(e.time for e in entries),
        outcome=_outcome(entries) or ("" if silent else _ended_with(here)),
        root_cause=_root_cause(failed[0]) if failed else "",
        report=_report(failed, label),
        generations=generations,
        remarks=[*_remarks(entries, label), *silent],
    )


def _outcome(entries: Sequence[Entry]) -> str:
    failed = [e for e in entries if e.name == "job.failed"]
    if failed:
        return "handed back" if failed[0].facts.get("handed_back") else "failed"
    return "succeeded" * any(e.name == "job.succeeded" for e in entries)


def _ended_with(entries: Sequence[Entry]) -> str:
    """Return how a job ended that neither succeeded nor failed."""
    statuses = [e.whole("status") for e in entries if e.name == "agent.finished"]
    code = next(filter(None, statuses), None)
    return f"ended with exit code {code}" if code else ""


def labels(entries: Iterable[Entry]) -> Callable[[Entry], str]:
    """Return what tells the node of an event: its host, and the agent if that helps."""
    agents: dict[str, set[str]] = {}
    for entry in entries:
        agents.setdefault(entry.host, set()).add(entry.agent)

    def label(entry: Entry) -> str:
        alone = len(agents.get(entry.host, ())) == 1
        return entry.host if alone else f"{entry.host}[{entry.agent}]"

    return label


def _generation(
    own: Sequence[Entry], before: Sequence[Entry], label: Callable[[Entry], str]
) -> Generation:
    joined = [entry for entry in own if entry.name == JOINED]
    first = joined[0]
    by_rank = sorted(joined, key=lambda e: e.whole("group_rank") or 0)
    reasons = [
        e.text("reason") for e in own if e.name == "group.stopping" and e.text("reason")
    ]
    return Generation(
        number=first.generation,
        reason=first.text("reason"),
        restarts=first.whole("restart_count") or 0,
        world_size=first.whole("world_size") or 0,
        nodes={label(entry): entry.numbers("ranks") for entry in by_rank},
        workers=_workers(own, label),
        began=min(entry.time for entry in joined),
        ended=max(entry.time for entry in own),
        phases=phases_of(own, before, label),
        stopped_for=reasons[0] if reasons else "",
        findings=[_finding(e) for e in own if e.name == "monitor.finding"],
        decisions=[
            f"{e.text('verdict')}: {e.text('reason')}"
            for e in own
            if e.name == "policy.decided" and e.text("verdict") != _RESTART
        ],
    )


def _workers(own: Sequence[Entry], label: Callable[[Entry], str]) -> list[Worker]:
    ends = {
        (label(entry), entry.whole("rank")): entry
        for entry in own
        if entry.name in _ENDS
    }
    workers = []
    for entry in own:
        rank = entry.whole("rank")
        if entry.name != "worker.started" or rank is None:
            continue
        end = ends.get((label(entry), rank))
        workers.append(
            Worker(
                rank=rank,
                node=label(entry),
                pid=entry.whole("pid") or 0,
                started=entry.time,
                ended=end.time if end else None,
                end=_ENDS[end.name] if end else "",
                remark=_ended(end) if end else "",
            )
        )
    return sorted(workers, key=lambda worker: worker.rank)


def _ended(entry: Entry) -> str:
    """Return how a worker ended, and of what."""
    code = entry.whole("exitcode")
    how = entry.text("signal") or ("" if code is None else f"exit code {code}")
    if entry.text("ending") not in ("", "exit", "signal"):
        how = f"{how} ({entry.text('ending')})"
    at = f" (at {entry.text('location')})" if entry.text("location") else ""
    message = entry.text("message")
    if how in message:  # which may say no more than that
        return f"{message}{at}"
    return f"{how}: {message}{at}" if message else f"{how}{at}"


def _root_cause(entry: Entry) -> str:
    rank = entry.whole("rank")
    who = "a worker" if rank is None else f"rank {rank}"
    return f"{who} on {entry.text('host')}: {_ended(entry)}"


def _report(failed: Sequence[Entry], label: Callable[[Entry], str]) -> str:
    told = [e for e in failed if e.text("report")]
    # The host of the root cause has its logs, too.
    told.sort(key=lambda e: e.host != e.text("host"))
    return f"{told[0].text('report')} on {label(told[0])}" if told else ""


def _finding(entry: Entry) -> str:
    rank = entry.whole("rank")
    who = "" if rank is None else f"rank {rank}: "
    # The first is that of the worker which is meant.
    stacks = "".join(f" (stacks: {file})" for file in entry.texts("stacks")[:1])
    return f"{who}{entry.text('severity')}: {entry.text('reason')}{stacks}"


def _remarks(entries: Sequence[Entry], label: Callable[[Entry], str]) -> list[str]:
    remarks = []
    for entry in entries:
        if entry.name == "rendezvous.lost":
            remarks.append(f"{label(entry)} lost the job: {entry.text('reason')}")
        elif entry.name in _PREFLIGHTS:
            check = entry.text("preflight")
            if entry.name == "preflight.failed":
                remarks.append(
                    f"{label(entry)} failed preflight {check!r}: {entry.text('reason')}"
                )
            elif (entry.whole("attempt") or 1) > 1:
                remarks.append(f"{label(entry)} passed preflight {check!r} after that")
        elif entry.name == "agent.signalled":
            remarks.append(f"{label(entry)} got {entry.text('signal')}")
        elif entry.name == "notice.announced":
            remarks.append(
                f"{label(entry)} announced {entry.text('kind')}: {entry.text('reason')}"
            )
        elif entry.name == "control.request":
            asked = f"{label(entry)} was asked to {entry.text('request')}"
            why = entry.text("refused") or entry.text("reason")
            remarks.append(f"{asked}: {why}" if why else asked)
        elif entry.name == "events.lost":
            count = entry.whole("count") or 0
            remarks.append(f"{count} events of {label(entry)} are lost")
    return remarks


def _silent(entries: Iterable[Entry], label: Callable[[Entry], str]) -> list[str]:
    """Return who has told of no end."""
    last = {label(entry): entry for entry in entries}
    return [
        f"{node} has told of no end; its last event is {entry.name}"
        for node, entry in last.items()
        if not entry.name.startswith("agent.finished")
    ]
