"""A story as one page of HTML that needs nothing else."""

from collections.abc import Iterable, Sequence
from html import escape

from elaunch_events_log.story.picture import picture
from elaunch_events_log.story.run import Generation, Run
from elaunch_events_log.story.text import (
    PHASES,
    clock,
    ended,
    headline,
    ranks_of,
    safe,
    title,
)


_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --faint: #e6e8eb;
  --fainter: #f3f4f6; --good: #2f7d4f; --bad: #c0262d; --cut: #8a6d1f; --told: #5b4bb5;
  --open: #5a6b7b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e9; --paper: #16181b;
  --faint: #32363b; --fainter: #212428; --good: #5fbf86; --bad: #ff6b6b; --cut: #d6b45a;
  --told: #a99cf0; --open: #9fb0c0; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); max-width: 1100px; margin: 2em auto;
  padding: 0 1em; overflow-wrap: anywhere; }
h1 { font-size: 1.35em; } h2 { font-size: 1.1em; margin-top: 1.8em; }
svg { width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg .row { text-anchor: end; }
svg .band { fill: var(--fainter); } svg .odd { fill: var(--faint); }
svg .tick { stroke: var(--ink); } svg .mark { stroke: var(--ink); stroke-width: 2; }
svg .halo { stroke: var(--paper); stroke-width: 5; }
.succeeded { fill: var(--good); } .failed { fill: var(--bad); }
.terminated { fill: var(--cut); } .preempted { fill: var(--told); }
.open { fill: var(--open); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25em .8em .25em 0; vertical-align: top;
  border-bottom: 1px solid var(--faint); }
td.number, th.number { text-align: right; }
ul.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 1em; }
ul.legend svg { width: 1em; height: .8em; }
.bad { color: var(--bad); font-weight: 600; }
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_ENDS = {
    "succeeded": "succeeded",
    "failed": "failed (with a cross)",
    "terminated": "stopped by its agent",
    "preempted": "ended for a preemption",
    "open": "not seen to end",
}


def page(runs: Sequence[Run], notes: Sequence[str]) -> str:
    """Return the page of some runs."""
    heading = ", ".join(dict.fromkeys(run.run_id for run in runs)) or "no events"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Nothing that an event says can run, or fetch anything.
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{_text(heading)}: elaunch events</title>",
        f"<style>{_STYLE}</style></head><body><main>",
    ]
    for run in runs:
        parts += _run(run)
    parts += _list("About these files", notes)
    parts.append("</main></body></html>\n")
    return "\n".join(parts)


def _run(run: Run) -> Iterable[str]:
    yield f"<h1>{_text(headline(run))}</h1>"
    yield f"<p>From {_text(clock(run.began))} to {_text(clock(run.ended))}.</p>"
    if run.root_cause:
        yield f'<p><span class="bad">Root cause:</span> {_text(run.root_cause)}</p>'
    if run.report:
        yield f"<p>Report: {_text(run.report)}</p>"
    yield "<h2>Timeline</h2>"
    yield f'<div class="scroll">{picture(run)}</div>'
    yield '<ul class="legend">'
    for kind, meaning in _ENDS.items():
        swatch = (
            f'<svg viewBox="0 0 10 8" aria-hidden="true">'
            f'<rect class="{kind}" width="10" height="8"/></svg>'
        )
        yield f"<li>{swatch} {meaning}</li>"
    yield "</ul>"
    yield "<h2>Generations</h2>"
    yield from _phases(run.generations)
    yield "<h2>Workers</h2>"
    yield from _workers(run.generations)
    yield from _list("Also", run.remarks)


def _phases(generations: Sequence[Generation]) -> Iterable[str]:
    heads = "".join(
        f'<th scope="col" class="number">'
        f'<abbr title="{_text(meaning)}">{name}</abbr></th>'
        for name, meaning in PHASES.items()
    )
    yield '<div class="scroll"><table><thead><tr><th scope="col">generation</th>'
    yield f'{heads}<th scope="col">workers</th></tr></thead><tbody>'
    for generation in generations:
        took = {phase.name: phase for phase in generation.phases}
        cells = []
        for name in PHASES:
            phase = took.get(name)
            told = f"{phase.seconds:.3f} s" if phase else ""
            where = f' title="{_text(phase.node)}"' if phase and phase.node else ""
            cells.append(f'<td class="number"{where}>{told}</td>')
        yield f'<tr><th scope="row">{_text(title(generation))}</th>{"".join(cells)}'
        yield f"<td>{_text(ended(generation))}</td></tr>"
    yield "</tbody></table></div>"


def _workers(generations: Sequence[Generation]) -> Iterable[str]:
    yield '<div class="scroll"><table><thead><tr>'
    for head in ("generation", "node", "ranks", "ended", "failures"):
        yield f'<th scope="col">{head}</th>'
    yield "</tr></thead><tbody>"
    for generation in generations:
        for node, ranks in generation.nodes.items():
            own = [worker for worker in generation.workers if worker.node == node]
            ends: dict[str, int] = {}
            for worker in own:
                how = worker.end or "not seen to end"
                ends[how] = ends.get(how, 0) + 1
            failed = [f"rank {w.rank}: {w.remark}" for w in own if w.end == "failed"]
            cells = (
                str(generation.number),
                node,
                ranks_of(ranks),
                ", ".join(f"{count} {how}" for how, count in ends.items()),
            )
            yield "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells)
            failures = "<br>".join(map(_text, failed))
            yield f'<td class="bad">{failures}</td></tr>'
    yield "</tbody></table></div>"


def _list(heading: str, items: Sequence[str]) -> Iterable[str]:
    if items:
        yield f"<h2>{heading}</h2><ul>"
        yield from (f"<li>{_text(item)}</li>" for item in items)
        yield "</ul>"


def _text(text: str) -> str:
    return escape(safe(text))
