"""Accelerators of this host, and the NUMA node of the one that each worker uses.

Only what the kernel tells is used, no vendor's tool or library.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from elaunch_spawn_local.cpus.topology import number_of, text_of


PCI = "sys/bus/pci/devices"
NVIDIA_DRIVER = "proc/driver/nvidia/gpus"

NO_DEVICE = ("", "-1")
"""Lists by which users say that no device is to be seen."""

_UUID = re.compile(r"^GPU UUID:\s*(\S+)", re.MULTILINE)


@attrs.frozen(kw_only=True)
class Device:
    """One accelerator.

    Attributes:
        address: Its PCI address, which gives the order that drivers count in.
        node: Its NUMA node; 0 where the system does not tell.
        uuid: Its UUID, or empty.
    """

    address: str
    node: int
    uuid: str = ""


@attrs.frozen(kw_only=True)
class Maker:
    """Accelerators of one maker, and how users choose some of them.

    Attributes:
        vendor: Its PCI vendor.
        classes: PCI classes of accelerators, without the interface.
        variables: Variables that choose devices, in the order in which they apply; of
            each tuple the first that is set counts.
    """

    vendor: str
    classes: tuple[str, ...]
    variables: tuple[tuple[str, ...], ...]


NVIDIA = Maker(
    vendor="0x10de",
    classes=("0x0300", "0x0302"),
    variables=(("CUDA_VISIBLE_DEVICES",),),
)
AMD = Maker(
    vendor="0x1002",
    classes=("0x0300", "0x0380", "0x1200"),
    variables=(
        ("ROCR_VISIBLE_DEVICES",),
        ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
    ),
)
ASCEND = Maker(
    vendor="0x19e5",
    classes=("0x1200",),
    variables=(("ASCEND_RT_VISIBLE_DEVICES",),),
)

MAKERS = (NVIDIA, AMD, ASCEND)
"""Makers that are known; the first that has devices here is the one that counts."""


@attrs.frozen
class Devices:
    """The accelerators of this host.

    Attributes:
        maker: Whose they are.
        devices: Each of them, in the order that drivers count in.
    """

    maker: Maker
    devices: tuple[Device, ...]


@attrs.frozen
class Homes:
    """Where the workers' devices are.

    Attributes:
        nodes: The NUMA node of each worker's device, by local rank; empty if there are
            no devices, or not for every worker.
        notes: What could not be found out.
    """

    nodes: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def read_devices(root: Path) -> Devices | None:
    """Look for accelerators; blocks for some milliseconds.

    Args:
        root: The root directory.
    """
    addresses = sorted(path.name for path in (root / PCI).glob("*"))
    for maker in MAKERS:
        found = [_device(root, a) for a in addresses if _is_of(maker, root / PCI / a)]
        if maker is NVIDIA and any(device.uuid for device in found):
            # A container sees all devices of its host, but its driver's alone.
            found = [device for device in found if device.uuid]
        if found:
            return Devices(maker, tuple(found))
    return None


def homes(found: Devices | None, environments: Sequence[Mapping[str, str]]) -> Homes:
    """Return where each worker's device is.

    Args:
        found: The accelerators of this host.
        environments: The whole environment of each worker, by local rank.
    """
    if not found:
        return Homes()
    nodes = []
    for rank, environment in enumerate(environments):
        seen = _seen(found, environment)
        if seen is None:
            what = f"the device of local rank {rank} is none that the system tells of"
            return Homes(notes=(f"{what}: workers are spread evenly",))
        if not seen:
            return Homes()
        # Scripts take the device of this number; where there are too few, they share.
        number = int(environment.get("LOCAL_RANK", rank))
        nodes.append(seen[number % len(seen)].node)
    return Homes(tuple(nodes))


def _is_of(maker: Maker, directory: Path) -> bool:
    vendor, kind = text_of(directory / "vendor"), text_of(directory / "class")
    return vendor.strip() == maker.vendor and kind.startswith(maker.classes)


def _device(root: Path, address: str) -> Device:
    uuid = _UUID.search(text_of(root / NVIDIA_DRIVER / address / "information"))
    return Device(
        address=address,
        node=number_of(root / PCI / address / "numa_node"),
        uuid=uuid[1] if uuid else "",
    )


def _seen(found: Devices, environment: Mapping[str, str]) -> Sequence[Device] | None:
    """Return the devices that a worker sees; `None` if that can't be told."""
    seen: Sequence[Device] | None = found.devices
    for names in found.maker.variables:
        value = next((environment[n] for n in names if n in environment), None)
        if value is not None and seen is not None:
            seen = _chosen(seen, value)
    return seen


def _chosen(devices: Sequence[Device], value: str) -> Sequence[Device] | None:
    if value.strip() in NO_DEVICE:
        return ()
    chosen: list[Device] = []
    for entry in (entry.strip() for entry in value.split(",")):
        matching = [d for i, d in enumerate(devices) if _is_meant(entry, i, d)]
        if len(matching) != 1:
            return None
        chosen += matching
    return chosen


def _is_meant(entry: str, number: int, device: Device) -> bool:
    """Whether an entry is this device, by number, UUID or the beginning of that."""
    if entry.isdecimal():
        return int(entry) == number
    # Of a MIG instance: MIG-GPU-<UUID of the device>/1/0.
    beginning = entry.removeprefix("MIG-").partition("/")[0]
    return bool(beginning) and device.uuid.startswith(beginning)
