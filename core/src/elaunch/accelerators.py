"""Accelerators: the kinds there are, and how many a process sees of them. Pure."""

from collections.abc import Mapping, Sequence

import attrs


@attrs.frozen(kw_only=True)
class Maker:
    """Accelerators of one maker.

    Attributes:
        word: The word by which users ask for them.
        name: What they are called.
        lists: Variables that show a process some of them only, in the order in which
            they apply; of each tuple the first that is set counts.
    """

    word: str
    name: str
    lists: tuple[tuple[str, ...], ...]


NVIDIA = Maker(word="gpu", name="NVIDIA GPU", lists=(("CUDA_VISIBLE_DEVICES",),))
AMD = Maker(
    word="gpu",
    name="AMD GPU",
    lists=(
        ("ROCR_VISIBLE_DEVICES",),
        ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
    ),
)
INTEL = Maker(word="xpu", name="Intel GPU", lists=(("ZE_AFFINITY_MASK",),))
ASCEND = Maker(word="npu", name="Ascend NPU", lists=(("ASCEND_RT_VISIBLE_DEVICES",),))

MAKERS = (NVIDIA, AMD, INTEL, ASCEND)
"""In the order in which ``auto`` takes them."""

WORDS = ("auto", "cpu", *dict.fromkeys(maker.word for maker in MAKERS))
"""What may be asked for in place of a number."""


@attrs.frozen
class Counted:
    """How many accelerators of one maker there are.

    Attributes:
        maker: The maker.
        number: How many a process sees.
        rule: How that was found out.
    """

    maker: Maker
    number: int
    rule: str


def seen(maker: Maker, there: int, rule: str, given: Mapping[str, str]) -> Counted:
    """Return how many of the accelerators that are there a process sees.

    Args:
        maker: Whose they are.
        there: How many there are.
        rule: Who says so.
        given: The environment.
    """
    number, rules = there, [rule]
    for names in maker.lists:
        name = next((name for name in names if name in given), None)
        if name is not None:
            number = _listed(given[name].split(","), number)
            rules.append(f"{name}={given[name]!r}")
    return Counted(maker, number, " and ".join(rules))


def _listed(entries: Sequence[str], there: int) -> int:
    """Count the entries up to the first that names no device, as CUDA does."""
    number = 0
    for entry in entries:
        word = entry.strip()
        if word in ("", "-1") or (word.isdigit() and int(word) >= there):
            break
        number += 1
    return number if there else 0
