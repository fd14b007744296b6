"""Pauses between attempts."""

from elaunch_rdzv_etcd.ring import pause


def test_pauses_grow_to_a_second_and_stay_there() -> None:
    pauses = [pause(attempt) for attempt in (0, 2, 4, 10, 100_000)]

    for length, longest in zip(pauses, (0.05, 0.2, 0.8, 1.0, 1.0), strict=True):
        assert longest / 2 <= length <= longest
