"""The flags of what happens when something fails."""

import argparse

from elaunch.cli import report, signals


def add_flags(group: argparse._ActionsContainer) -> None:
    """Add them to a group of the parser."""
    group.add_argument(
        "--max-restarts",
        metavar="N",
        type=int,
        default=0,
        help="restarts that failures may cost the whole job (default: 0)",
    )
    group.add_argument(
        "--shutdown-timeout",
        metavar="SECONDS",
        type=float,
        default=30.0,
        help="time between the signal to stop and SIGKILL, whatever the reason "
        "(default: 30)",
    )
    group.add_argument(
        "--exit-barrier-timeout",
        metavar="SECONDS",
        type=float,
        default=None,
        help="how long this node waits for the others when its workers have succeeded "
        "(default: as long as they take)",
    )
    signals.add_flags(group)
    group.add_argument(
        "--restart-policy",
        metavar="NAME[:K=V,...]",
        default="default",
        help="who decides after a failure (default: default)",
    )
    group.add_argument(
        "--on-failure",
        metavar="WHEN=THEN",
        action="append",
        default=[],
        help="what follows from some failures, for example exit:3=fail or "
        "exception:OutOfMemoryError=hand-back; may be given several times",
    )
    report.add_flags(group)
