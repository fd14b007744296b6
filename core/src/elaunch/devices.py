"""Device variables: which accelerators a process sees, and how to show it only one."""

from collections.abc import Mapping, Sequence

import attrs

from elaunch.errors import UsageError


@attrs.frozen
class DeviceVariable:
    """One variable that holds a list of devices, separated by commas.

    Attributes:
        name: Name of the variable.
        meaning: One line for the documentation.
        refined_by: Variables whose entries count within the devices of this one. Where
            one of them is set, it says which of these devices a process uses.
    """

    name: str
    meaning: str
    refined_by: tuple[str, ...] = ()


DEFAULT = "CUDA_VISIBLE_DEVICES"
"""The variable that is set where none is."""

TABLE: tuple[DeviceVariable, ...] = (
    DeviceVariable(DEFAULT, "GPUs of CUDA programs, and of HIP's"),
    DeviceVariable("HIP_VISIBLE_DEVICES", "GPUs of HIP programs"),
    DeviceVariable(
        "ROCR_VISIBLE_DEVICES",
        "GPUs of ROCm programs; the two above count within them",
        refined_by=("HIP_VISIBLE_DEVICES", DEFAULT),
    ),
    DeviceVariable("GPU_DEVICE_ORDINAL", "GPUs of OpenCL programs on ROCm"),
    DeviceVariable("ASCEND_RT_VISIBLE_DEVICES", "Ascend NPUs"),
    DeviceVariable("ZE_AFFINITY_MASK", "Intel GPUs, or tiles of them"),
    DeviceVariable("HABANA_VISIBLE_MODULES", "Gaudi modules"),
    DeviceVariable("MLU_VISIBLE_DEVICES", "Cambricon MLUs"),
    DeviceVariable("MUSA_VISIBLE_DEVICES", "Moore Threads GPUs"),
    DeviceVariable("TPU_VISIBLE_CHIPS", "TPU chips"),
)
"""Every variable that ``--virtual-local-rank`` knows."""

_NO_DEVICE = ("", "-1")
"""Values by which users say that no device is to be seen."""


def one_device(
    given: Mapping[str, str], local_rank: int, named: Sequence[str] = ()
) -> dict[str, str]:
    """Return the device variables of a worker that is to see one device only.

    Its device is the one that the lists have at its local rank. Entries are taken as
    they are, so that UUIDs, MIG instances and tiles work like numbers. A list that
    shows no device goes on to show none.

    Args:
        given: What the worker would get otherwise.
        local_rank: Its rank on this node.
        named: Variables to set; by default all of `TABLE` that are set, or `DEFAULT`
            if none is.

    Raises:
        UsageError: If a list has no entry for this rank.
    """
    return {
        name: _entry(name, given[name], local_rank)
        if name in given
        else str(local_rank)
        for name in named or _set_ones(given) or (DEFAULT,)
    }


def _set_ones(given: Mapping[str, str]) -> list[str]:
    return [
        variable.name
        for variable in TABLE
        if variable.name in given and not given.keys() & set(variable.refined_by)
    ]


def _entry(name: str, value: str, local_rank: int) -> str:
    if value.strip() in _NO_DEVICE:
        return value
    entries = [entry.strip() for entry in value.split(",")]
    if local_rank >= len(entries):
        raise UsageError(
            f"--virtual-local-rank: local rank {local_rank} has no device, since "
            f"{name} is {value!r}; list a device for each worker there, or start "
            f"{len(entries)} with --nproc-per-node"
        )
    return entries[local_rank]
