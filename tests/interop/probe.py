"""A worker that writes down how it was started, one file for each attempt and rank."""

import json
import os
import signal
import sys
from pathlib import Path


def state() -> dict[str, object]:
    """Return all that a program can see of how it was started."""
    lines = Path("/proc/self/status").read_text().splitlines()
    facts = dict(line.split(":\t", 1) for line in lines)
    opened = Path("/proc/self/fd").iterdir()
    return {
        "argv": sys.argv,
        "name": __name__,
        "path": sys.path[0],
        "executable": sys.executable,
        "cwd": str(Path.cwd()),
        "umask": facts["Umask"],
        "signals": [facts[name] for name in ("SigIgn", "SigBlk")],
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "cpus": sorted(os.sched_getaffinity(0)),
        "unbuffered": getattr(sys.stdout, "write_through", None),
        "stdin": str(Path("/proc/self/fd/0").readlink()),
        "descriptors": sorted(int(path.name) for path in opened)[:-1],
        **{f"${name}": value for name, value in os.environ.items()},
    }


def main() -> None:
    """Write it, say something, and fail at first where that is planned."""
    attempt, rank = os.environ["TORCHELASTIC_RESTART_COUNT"], os.environ["RANK"]
    Path("seen").mkdir(exist_ok=True)
    part = Path("seen", f"{attempt}-{rank}.part")
    part.write_text(json.dumps(state()))
    part.rename(part.with_suffix(".json"))
    print(f"probe {attempt}-{rank} stdout", flush=True)
    print(f"probe {attempt}-{rank} stderr", file=sys.stderr, flush=True)
    if "FAILS" in os.environ and attempt == "0":
        if os.environ["FAILS"] == "by signal":
            os.kill(os.getpid(), signal.SIGKILL)
        sys.exit(3)


if __name__ == "__main__":
    main()
