"""What this host has: its CPUs, and its accelerators as drivers and tools tell of them.

No framework is asked. Each way to count is tried in turn; the first that finds some
counts.
"""

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from elaunch.accelerators import (
    AMD,
    ASCEND,
    INTEL,
    MAKERS,
    NVIDIA,
    Counted,
    Maker,
    seen,
)


ROOT = Path("/")

_TOOL_SECONDS = 20.0
"""How long a vendor's tool may take: on a large host some take seconds."""

_INTEGRATED = "0000:00:02.0"
"""PCI address of the GPU that is part of an Intel processor."""


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def accelerators(
    word: str, environment: Mapping[str, str], root: Path = ROOT
) -> Iterator[Counted]:
    """Yield what there is of each maker's accelerators; may take seconds.

    Args:
        word: Which are wanted; ``auto`` for all.
        environment: Says which of them a process sees.
        root: The root directory.
    """
    for maker in MAKERS:
        if word not in ("auto", maker.word):
            continue
        for rule, count in _WAYS[maker]:
            if there := count(root):
                yield seen(maker, there, rule, environment)
                break


def ways(word: str) -> list[str]:
    """Return how accelerators that a word stands for are looked for."""
    makers = [maker for maker in MAKERS if maker.word == word]
    return [rule for maker in makers for rule, _ in _WAYS[maker]]


def _nvml(_: Path) -> int:
    number = ctypes.c_uint()
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        if library.nvmlInit_v2() != 0:
            return 0
        ended = library.nvmlDeviceGetCount_v2(ctypes.byref(number))
        library.nvmlShutdown()
    except (OSError, AttributeError):
        return 0
    return number.value if ended == 0 else 0


def _nvidia_smi(_: Path) -> int:
    return len(re.findall(r"(?m)^GPU \d+:", _output("nvidia-smi", "-L")))


def _nvidia_driver(root: Path) -> int:
    return len(list((root / "proc/driver/nvidia/gpus").glob("*")))


def _amd_driver(root: Path) -> int:
    """Count the nodes of the driver that are GPUs; those of others can't be read."""
    nodes = (root / "sys/class/kfd/kfd/topology/nodes").glob("*/gpu_id")
    return sum(_text(node).strip() not in ("", "0") for node in nodes)


def _rocm_smi(_: Path) -> int:
    return len(set(re.findall(r"GPU\[(\d+)\]", _output("rocm-smi", "--showid"))))


def _intel_driver(root: Path) -> int:
    cards = (root / "sys/class/drm").glob("card*/device")
    return sum(
        _text(card / "vendor").strip() == "0x8086"
        and card.resolve().name != _INTEGRATED
        for card in cards
        if re.fullmatch(r"card\d+", card.parent.name)
    )


def _xpu_smi(_: Path) -> int:
    lines = _output("xpu-smi", "discovery", "--dump", "1").splitlines()
    return sum(line.strip().isdigit() for line in lines)


def _ascend_driver(root: Path) -> int:
    names = (path.name for path in (root / "dev").glob("davinci*"))
    return sum(bool(re.fullmatch(r"davinci\d+", name)) for name in names)


Way = tuple[str, Callable[[Path], int]]

_WAYS: Mapping[Maker, Sequence[Way]] = {
    NVIDIA: (
        ("NVML", _nvml),
        ("nvidia-smi", _nvidia_smi),
        ("/proc/driver/nvidia", _nvidia_driver),
    ),
    AMD: (("/sys/class/kfd", _amd_driver), ("rocm-smi", _rocm_smi)),
    INTEL: (("/sys/class/drm", _intel_driver), ("xpu-smi", _xpu_smi)),
    ASCEND: (("/dev/davinci*", _ascend_driver),),
}


def _output(tool: str, *arguments: str) -> str:
    """Return what a tool prints; nothing if it is not there, fails or hangs."""
    path = shutil.which(tool)
    if path is None:
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(  # noqa: S603 - a tool of the vendor on the user's path
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TOOL_SECONDS,
            check=True,
        ).stdout
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
