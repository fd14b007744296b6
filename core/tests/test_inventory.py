"""How many workers a word means: fake tools, a fake /sys and a fake driver, all read
as real ones are."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from elaunch.accelerators import AMD, INTEL, NVIDIA, Maker, seen
from elaunch.cli.size import workers_of_node
from elaunch.errors import UsageError
from elaunch.inventory import usable_cpus


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No tool but those that a test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def write(root: Path, name: str, text: str = "") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def tool(path: Path, name: str, *lines: str, status: int = 0) -> None:
    said = "".join(f"echo '{line}'\n" for line in lines)
    write(path, name, f"#!/bin/sh\n{said}exit {status}\n")
    (path / name).chmod(0o755)


def workers(word: str, root: Path, **environment: str) -> int:
    return workers_of_node(word, environment, root=root)


def refused(word: str, root: Path, **environment: str) -> str:
    with pytest.raises(UsageError) as caught:
        workers(word, root, **environment)
    return str(caught.value)


@pytest.mark.parametrize(
    ("maker", "there", "given", "number"),
    [
        (NVIDIA, 8, {}, 8),
        (NVIDIA, 8, {"CUDA_VISIBLE_DEVICES": "0,3"}, 2),
        (NVIDIA, 8, {"CUDA_VISIBLE_DEVICES": ""}, 0),
        (NVIDIA, 8, {"CUDA_VISIBLE_DEVICES": "-1"}, 0),
        (NVIDIA, 8, {"CUDA_VISIBLE_DEVICES": "1,-1,2"}, 1),
        (NVIDIA, 2, {"CUDA_VISIBLE_DEVICES": "1,2,0"}, 1),
        (NVIDIA, 2, {"CUDA_VISIBLE_DEVICES": "GPU-1a2b, MIG-3c4d"}, 2),
        (NVIDIA, 0, {"CUDA_VISIBLE_DEVICES": "GPU-1a2b"}, 0),
        (NVIDIA, 4, {"HIP_VISIBLE_DEVICES": "0"}, 4),
        (AMD, 8, {"HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "0,1"}, 1),
        (AMD, 8, {"CUDA_VISIBLE_DEVICES": "0,1"}, 2),
        (AMD, 8, {"ROCR_VISIBLE_DEVICES": "4,5", "HIP_VISIBLE_DEVICES": "1,4"}, 1),
        (INTEL, 4, {"ZE_AFFINITY_MASK": "0.0,0.1,3"}, 3),
    ],
)
def test_lists_show_some_of_what_is_there(
    maker: Maker, there: int, given: Mapping[str, str], number: int
) -> None:
    assert seen(maker, there, "x", given).number == number


def test_a_number_is_a_number(tmp_path: Path) -> None:
    assert workers(" 3 ", tmp_path) == 3
    assert workers("-1", tmp_path) == -1


def test_cpus_are_those_of_the_affinity(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert usable_cpus() == workers("cpu", tmp_path) == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert workers("auto", tmp_path) == len(allowed)


def test_nvidias_tool_counts(tmp_path: Path, path: Path) -> None:
    tool(path, "nvidia-smi", "GPU 0: A (UUID: GPU-1)", "  MIG 1g", "GPU 1: A (UUID: 2)")

    assert workers("gpu", tmp_path) == workers("auto", tmp_path) == 2
    assert workers("gpu", tmp_path, CUDA_VISIBLE_DEVICES="1") == 1
    assert workers("auto", tmp_path, CUDA_VISIBLE_DEVICES="") == usable_cpus()


def test_nvidias_driver_counts_where_the_tool_fails(tmp_path: Path, path: Path) -> None:
    tool(path, "nvidia-smi", "GPU 0: A", status=9)
    for address in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        write(tmp_path, f"proc/driver/nvidia/gpus/{address}/information")

    assert workers("gpu", tmp_path) == 3


def test_amds_driver_counts_what_this_process_may_use(
    tmp_path: Path, path: Path
) -> None:
    nodes = "sys/class/kfd/kfd/topology/nodes"
    for node, gpu in enumerate(("0", "51110\n", "3324\n", "")):
        write(tmp_path, f"{nodes}/{node}/gpu_id", gpu)
    tool(path, "rocm-smi", "GPU[0] : x", "GPU[1] : x", "GPU[2] : x")

    assert workers("gpu", tmp_path) == 2
    assert workers("gpu", tmp_path, HIP_VISIBLE_DEVICES="1") == 1


def test_amds_tool_counts_where_no_driver_tells(tmp_path: Path, path: Path) -> None:
    tool(path, "rocm-smi", "GPU[0]: ID: 1", "GPU[0]: Rev: 2", "GPU[1]: ID: 3")

    assert workers("gpu", tmp_path) == 2


def test_intels_driver_counts_all_but_the_processors_own(
    tmp_path: Path, path: Path
) -> None:
    for card, address, vendor in (
        ("card0", "0000:00:02.0", "0x8086"),
        ("card1", "0000:4d:00.0", "0x8086"),
        ("card2", "0000:5e:00.0", "0x10de"),
        ("card3", "0000:6f:00.0", "0x8086"),
    ):
        write(tmp_path, f"sys/devices/{address}/vendor", f"{vendor}\n")
        drm = tmp_path / "sys/class/drm"
        for name in (card, f"{card}-DP-1"):
            (drm / name).mkdir(parents=True)
            (drm / name / "device").symlink_to(tmp_path / "sys/devices" / address)

    assert workers("xpu", tmp_path) == workers("auto", tmp_path) == 2
    assert "no such device here" in refused("gpu", tmp_path)
    tool(path, "xpu-smi", "Device ID", "0")
    assert workers("xpu", tmp_path) == 2


def test_intels_tool_counts(tmp_path: Path, path: Path) -> None:
    tool(path, "xpu-smi", "Device ID", "0", "1", "2")

    assert workers("xpu", tmp_path) == 3
    assert workers("xpu", tmp_path, ZE_AFFINITY_MASK="2") == 1


def test_ascends_devices_count(tmp_path: Path) -> None:
    for name in ("davinci0", "davinci1", "davinci_manager"):
        write(tmp_path, f"dev/{name}")

    assert workers("npu", tmp_path) == workers("auto", tmp_path) == 2


NVML = """
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 5; return 0; }
int nvmlShutdown(void) { return 0; }
"""

ASK = """
from elaunch.cli.size import workers_of_node
print(workers_of_node("gpu", {}))
"""


def test_nvidias_library_counts_first(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = shutil.which("cc", path=os.defpath)
    if not compiler:
        pytest.skip("needs a C compiler")
    write(tmp_path, "nvml.c", NVML)
    library = str(tmp_path / "libnvidia-ml.so.1")
    monkeypatch.setenv("PATH", os.defpath)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, str(tmp_path / "nvml.c")],
        check=True,
    )
    monkeypatch.setenv("PATH", str(path))
    tool(path, "nvidia-smi", "GPU 0: A")
    ended = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stdout == "5\n"


def test_a_word_without_its_device_tells_where_it_was_looked_for(
    tmp_path: Path, path: Path
) -> None:
    assert refused("gpu", tmp_path) == (
        "--nproc-per-node gpu: there is no such device here (asked: NVML, nvidia-smi, "
        "/proc/driver/nvidia, /sys/class/kfd, rocm-smi); give a number, or 'cpu'"
    )
    tool(path, "nvidia-smi", "GPU 0: A")
    assert "(nvidia-smi and CUDA_VISIBLE_DEVICES='-1' shows none)" in refused(
        "gpu", tmp_path, CUDA_VISIBLE_DEVICES="-1"
    )


@pytest.mark.parametrize("word", ["gpus", "two", "1.5", "", "tpu"])
def test_other_words_are_unsupported(word: str, tmp_path: Path) -> None:
    assert f"--nproc-per-node {word!r} is unsupported" in refused(word, tmp_path)


def test_the_choice_is_logged_with_its_reason(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tool(path, "nvidia-smi", "GPU 0: A", "GPU 1: A")
    with caplog.at_level(logging.INFO):
        workers("auto", tmp_path)

    assert caplog.messages == [
        "--nproc-per-node auto: 2 workers, one for each NVIDIA GPU (nvidia-smi)"
    ]
