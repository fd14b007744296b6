"""Who finds a worker that hangs, in plain sentences. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from elaunch.monitors.options import HeartbeatOptions, OutputOptions
from elaunch.options import build_options, parse_spec


def hangs(monitors: Sequence[str]) -> Iterator[str]:
    """Yield who finds a worker that hangs, and what follows.

    Args:
        monitors: The monitors that are asked for, with their options.
    """
    specs = [parse_spec(spec, "--monitor") for spec in monitors]
    found = [sentence for spec in specs for sentence in _of_monitor(*spec)]
    if found:
        yield from found
    else:
        yield "Nobody sees that it is silent: that takes --monitor heartbeat, or output"
        yield "with a limit."
    yield "A section that is over the limit that the worker gave it is found in any"
    yield "case. Stacks of all workers of the node are written down. Then it goes on as"
    yield "when a worker fails."


def _of_monitor(name: str, given: Mapping[str, str]) -> Iterator[str]:
    if name == "heartbeat":
        beat = build_options(HeartbeatOptions, given, "--monitor")
        assert isinstance(beat, HeartbeatOptions)  # noqa: S101 - for mypy
        limit = f"{beat.limit:g} s" if beat.limit else "longer than is usual"
        start = (
            f"({beat.startup:g} s at its start)"
            if beat.startup
            else "(not at its start)"
        )
        yield f"The monitor 'heartbeat' finds one that says nothing for {limit}"
        yield f"{start}{_ending(beat.severity)}"
    if name == "output":
        output = build_options(OutputOptions, given, "--monitor")
        assert isinstance(output, OutputOptions)  # noqa: S101 - for mypy
        if output.silence:
            yield "The monitor 'output' finds one that writes nothing for"
            yield f"{output.silence:g} s{_ending(output.severity)}"


def _ending(severity: str) -> str:
    return (
        "." if severity == "unhealthy" else f"; it is told as {severity}, that is all."
    )
