"""Options of the core's monitors, but for `sections`."""

from typing import Any

import attrs

from elaunch.monitors.fields import SEVERITIES, above, seconds, severity_of


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HeartbeatOptions:
    """Options of the monitor ``heartbeat``.

    Attributes:
        limit: Seconds for which a worker may be silent; 0 for a limit that is learned.
        startup: Seconds that it may be silent at its start, and until a limit is known;
            0 for no limit.
        warmup: How many first heartbeats of a worker belong to its start.
        factor: How many times the longest silence so far the learned limit is.
        floor: Seconds that a learned limit has at least.
        severity: What silence is.
    """

    limit: float = seconds(0.0)
    startup: float = seconds(1800.0)
    warmup: int = attrs.field(default=3, validator=attrs.validators.ge(0))
    factor: float = above(5.0, 1)
    floor: float = above(300.0, 0)
    severity: str = severity_of("unhealthy")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StragglerOptions:
    """Options of the monitor ``straggler``.

    Attributes:
        interval: Seconds between two reports.
        ratio: How many times the median of the job a slow worker's step takes.
        chronic: In how many reports in a row a worker must be slow to be named.
        severity: What a chronic straggler is.
        exclude: Whether it is asked to leave its node out.
    """

    interval: float = above(60.0, 0)
    ratio: float = above(1.5, 1)
    chronic: int = attrs.field(default=3, validator=attrs.validators.ge(1))
    severity: str = severity_of("degraded")
    exclude: bool = False

    def __attrs_post_init__(self) -> None:
        if self.exclude and self.severity != SEVERITIES[0]:
            raise ValueError(
                "'exclude' is about a worker that has failed; add severity=unhealthy"
            )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DeadlineOptions:
    """Options of the monitor ``deadline``.

    Attributes:
        job: Seconds that the job may take, from the start of this agent; 0 for no
            limit.
        generation: Seconds for which workers may run without a restart; 0 for no limit.
    """

    job: float = seconds(0.0)
    generation: float = seconds(0.0)


STREAMS = ("both", "stdout", "stderr")
REQUESTS = ("", "no-restart", "exclude-node")


def _one_of(*words: str) -> Any:
    def check(_: object, field: "attrs.Attribute[str]", value: str) -> None:
        if value not in words:
            known = ", ".join(map(repr, words))
            raise ValueError(f"{field.name!r} is one of {known}, not {value!r}")

    return attrs.field(default=words[0], validator=check)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class OutputOptions:
    """Options of the monitor ``output``.

    Attributes:
        silence: Seconds for which a worker that has written something may write
            nothing; 0 for no limit.
        startup: Seconds that it may take until it first writes something; 0 for no
            limit.
        rules: TOML file with rules; empty for none.
        pattern: Regular expression of one more rule; empty for none.
        within: Seconds after the start in which a line must match it.
        every: Seconds after a line that matches in which another must.
        forbidden: Whether no line may match.
        until: Regular expression of the line that ends the rule.
        ranks: Global ranks that the limits and the rule are about; empty for all.
        stream: Which stream the rule is about.
        severity: What silence, and a rule that is broken, is.
        request: What the rule asks for when it is broken, beyond a restart.
    """

    silence: float = seconds(0.0)
    startup: float = seconds(0.0)
    rules: str = ""
    pattern: str = ""
    within: float = seconds(0.0)
    every: float = seconds(0.0)
    forbidden: bool = False
    until: str = ""
    ranks: str = ""
    stream: str = _one_of(*STREAMS)
    severity: str = severity_of("unhealthy")
    request: str = _one_of(*REQUESTS)

    def __attrs_post_init__(self) -> None:
        if not (self.silence or self.startup or self.rules or self.pattern):
            raise ValueError(
                "it has nothing to look for; give it silence=SECONDS, "
                "pattern=REGEX with within=, every= or forbidden=true, or rules=FILE"
            )
        for name in ("within", "every", "forbidden", "until", "request"):
            if getattr(self, name) and not self.pattern:
                raise ValueError(f"{name!r} is about a pattern; give pattern=REGEX")
        check_request(self.request, self.severity)


def check_request(request: str, severity: str) -> None:
    """Raise if a request asks for more than a finding can bring about.

    Raises:
        ValueError: If what is found is no failure.
    """
    if request and severity != SEVERITIES[0]:
        raise ValueError(
            f"'request' is about a worker that has failed, and severity "
            f"{severity!r} is no failure; give one of them"
        )
