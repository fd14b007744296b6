"""The timeline of a run as a picture: a row for each rank, a bar for each worker."""

from collections.abc import Iterable, Sequence
from html import escape

import attrs

from elaunch_events_log.story.run import Generation, Run, Worker
from elaunch_events_log.story.text import clock, ranks_of, safe, title


_WIDTH, _LEFT, _TOP, _BOTTOM = 1000, 170, 34, 26
_ROW, _LEAST_ROW, _HIGHEST = 16, 3, 1600
_MOST_ROWS = 512
"""Rows of workers; where there are more, each node has one."""

_LABEL = "Timeline of generations and ranks; the tables have the same facts"
_NAME_LENGTH = 24
_QUARTERS = 4
_THOUSAND = 1000  # seconds that three digits no longer tell

_WORST = ("failed", "terminated", "preempted", "", "succeeded")
"""Ends, the one that matters most first."""


@attrs.frozen(kw_only=True)
class Bar:
    """One bar.

    Attributes:
        row: Label of its row.
        since: When it begins.
        until: When it ends.
        end: How.
        hint: What it tells whoever points at it.
    """

    row: str
    since: float
    until: float
    end: str
    hint: str


def picture(run: Run) -> str:
    """Return a run as SVG, whose colours are classes of the page around it."""
    bars = list(_bars(run))
    rows = {row: index for index, row in enumerate(dict.fromkeys(b.row for b in bars))}
    row = max(min(_ROW, _HIGHEST // max(len(rows), 1)), _LEAST_ROW)
    height = _TOP + row * len(rows) + _BOTTOM
    scale = _Scale(run.began, max(run.ended - run.began, 1e-3))
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{_LABEL}">',
    ]
    parts += _generations(run.generations, scale, height)
    parts += _labels(rows, row)
    # Crosses last: the bar of the next generation may begin where one is.
    failed = [bar for bar in bars if bar.end == "failed"]
    for draw, some in ((_drawn, bars), (_crossed, failed)):
        parts += (draw(bar, rows[bar.row] * row + _TOP, row, scale) for bar in some)
    parts += _axis(scale, height)
    parts.append("</svg>")
    return "\n".join(parts)


@attrs.frozen
class _Scale:
    """From time to place.

    Attributes:
        began: Time at the left.
        length: Seconds from there to the right.
    """

    began: float
    length: float

    def x(self, time: float) -> float:
        """Return where a time is."""
        share = min(max((time - self.began) / self.length, 0.0), 1.0)
        return round(_LEFT + share * (_WIDTH - _LEFT - 10), 2)


def _bars(run: Run) -> Iterable[Bar]:
    all_ranks = {w.rank for each in run.generations for w in each.workers}
    for generation in run.generations:
        if len(all_ranks) <= _MOST_ROWS:
            for worker in generation.workers:
                until = worker.ended or generation.ended
                hint = _hint(generation, worker)
                row = f"rank {worker.rank}"
                yield _bar(row, [worker], until, hint)
        else:
            yield from _node_bars(generation)


def _node_bars(generation: Generation) -> Iterable[Bar]:
    by_node: dict[str, list[Worker]] = {}
    for worker in generation.workers:
        by_node.setdefault(worker.node, []).append(worker)
    for node, workers in by_node.items():
        until = max(worker.ended or generation.ended for worker in workers)
        ranks = ranks_of([worker.rank for worker in workers])
        failed = [_hint(generation, w) for w in workers if w.end == "failed"]
        hint = f"generation {generation.number}, {node}, {ranks}"
        yield _bar(node, workers, until, "\n".join([hint, *failed[:4]]))


def _bar(row: str, workers: Sequence[Worker], until: float, hint: str) -> Bar:
    end = min((worker.end for worker in workers), key=_WORST.index)
    since = min(worker.started for worker in workers)
    return Bar(row=row, since=since, until=max(until, since), end=end, hint=hint)


def _hint(generation: Generation, worker: Worker) -> str:
    took = f"{(worker.ended or generation.ended) - worker.started:.3f} s"
    end = worker.end or "not seen to end"
    who = f"rank {worker.rank} on {worker.node}, pid {worker.pid}"
    facts = f"generation {generation.number}, {who}: {end} after {took}"
    return f"{facts}\n{worker.remark}" if worker.end == "failed" else facts


def _told(text: str) -> str:
    """Return lines that nothing in them can leave."""
    return escape("\n".join(map(safe, text.split("\n"))))


def _drawn(bar: Bar, y: float, row: float, scale: _Scale) -> str:
    left, width = _extent(bar, scale)
    pad = row / 8
    return (
        f"<g><title>{_told(bar.hint)}</title>"
        f'<rect class="{bar.end or "open"}" x="{left}" y="{y + pad}" width="{width}" '
        f'height="{row - 2 * pad}" rx="1"/></g>'
    )


def _crossed(bar: Bar, y: float, row: float, scale: _Scale) -> str:
    """Return the mark of a failure, also for who can't tell the colours apart."""
    left, width = _extent(bar, scale)
    arm = max(row / 3, 2)
    x, middle = left + width, y + row / 2
    lines = (
        f"M{x - arm:.2f} {middle - arm:.2f}L{x + arm:.2f} {middle + arm:.2f}"
        f"M{x - arm:.2f} {middle + arm:.2f}L{x + arm:.2f} {middle - arm:.2f}"
    )
    return (
        f"<g><title>{_told(bar.hint)}</title>"
        f'<path class="halo" d="{lines}"/><path class="mark" d="{lines}"/></g>'
    )


def _extent(bar: Bar, scale: _Scale) -> tuple[float, float]:
    """Return where a bar begins and how long it is."""
    left = scale.x(bar.since)
    return left, max(round(scale.x(bar.until) - left, 2), 2)


def _generations(
    generations: Sequence[Generation], scale: _Scale, height: float
) -> Iterable[str]:
    told = 0.0
    for index, generation in enumerate(generations):
        left, right = scale.x(generation.began), scale.x(generation.ended)
        width = max(round(right - left, 2), 1)
        band = "band odd" if index % 2 else "band"
        number = ""
        if left >= told:  # of generations that are too short for it, only some
            number = f'<text x="{left + 2}" y="13">{generation.number}</text>'
            told = left + 8 * len(str(generation.number)) + 6
        yield (
            f"<g><title>{_told(title(generation))}</title>"
            f'<rect class="{band}" x="{left}" y="18" '
            f'width="{width}" height="{height - 18 - _BOTTOM}"/>{number}</g>'
        )


def _labels(rows: dict[str, int], row: float) -> Iterable[str]:
    every = max(round(12 / row), 1)
    for label, index in rows.items():
        if index % every == 0:
            y = _TOP + index * row + row / 2 + 4
            cut = len(label) > _NAME_LENGTH
            short = _told(f"{label[: _NAME_LENGTH - 1]}…" if cut else label)
            yield f'<text class="row" x="{_LEFT - 8}" y="{y:.1f}">{short}</text>'


def _axis(scale: _Scale, height: float) -> Iterable[str]:
    for quarter in range(_QUARTERS + 1):
        seconds = scale.length * quarter / _QUARTERS
        x = scale.x(scale.began + seconds)
        place = "end" if quarter == _QUARTERS else "middle" if quarter else "start"
        when = escape(clock(scale.began + seconds))
        shown = f"{seconds:.3g}" if seconds < _THOUSAND else f"{seconds:.0f}"
        yield (
            f'<path class="tick" d="M{x} {height - _BOTTOM}v5"/>'
            f'<text x="{x}" y="{height - 6}" text-anchor="{place}">'
            f"<title>{when}</title>{shown} s</text>"
        )
