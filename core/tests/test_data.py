"""Helpers for the data of elastic jobs."""

import pytest

from elaunch.data import CyclingIterator, ElasticDistributedSampler


def shares(size: int, replicas: int, start: int = 0, epoch: int = 0) -> list[list[int]]:
    dealt = []
    for rank in range(replicas):
        sampler = ElasticDistributedSampler(range(size), replicas, rank, start)
        sampler.set_epoch(epoch)
        dealt.append(list(sampler))
        assert len(sampler) == len(dealt[-1])
    return dealt


@pytest.mark.parametrize("size", [1, 2, 5, 16, 17])
@pytest.mark.parametrize("replicas", [1, 2, 3, 4, 16, 40])
def test_every_index_is_dealt_and_all_shares_are_of_one_size(
    size: int, replicas: int
) -> None:
    for start in {0, size // 2, size - 1}:
        dealt = shares(size, replicas, start)
        left = size - start

        assert {len(share) for share in dealt} == {-(-left // replicas)}
        assert {index for share in dealt for index in share} == set(range(start, size))


def test_nothing_is_dealt_twice_where_it_comes_out_even() -> None:
    dealt = shares(16, 4, 4)

    assert sorted(index for share in dealt for index in share) == list(range(4, 16))


def test_shares_are_every_nth_of_one_order() -> None:
    (whole,) = shares(17, 1)
    first, second, third = shares(17, 3)

    assert first == whole[0::3]
    assert second == whole[1::3]
    assert third == [*whole[2::3], whole[0]]


def test_an_epoch_always_has_the_same_order_and_another_one_another() -> None:
    assert shares(100, 2, epoch=3) == shares(100, 2, epoch=3)
    assert shares(100, 2, epoch=3) != shares(100, 2, epoch=4)
    assert shares(100, 2) == shares(100, 2, epoch=0)


def test_the_order_is_the_same_on_every_version_of_python() -> None:
    assert shares(10, 1, epoch=1) == [[6, 8, 9, 7, 5, 3, 0, 4, 1, 2]]


def test_rank_and_number_are_those_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    sampler = ElasticDistributedSampler(range(9))

    assert list(sampler) == shares(9, 3)[1]
    assert (sampler.rank, sampler.num_replicas) == (1, 3)


def test_without_them_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RuntimeError, match=r"rank .*RANK is not set.*elaunch run"):
        ElasticDistributedSampler(range(9), 3)


def test_what_has_no_size_is_no_dataset() -> None:
    with pytest.raises(TypeError, match="size"):
        ElasticDistributedSampler(iter(range(3)), 1, 0)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("replicas", "rank", "start", "name"),
    [(2, 2, 0, "rank"), (2, -1, 0, "rank"), (2, 0, 5, "start"), (2, 0, -1, "start")],
)
def test_what_is_out_of_range_is_told(
    replicas: int, rank: int, start: int, name: str
) -> None:
    with pytest.raises(ValueError, match=name):
        ElasticDistributedSampler(range(5), replicas, rank, start)


def test_a_cycle_goes_through_one_epoch_after_the_other() -> None:
    cycle = CyclingIterator(3, lambda epoch: iter([epoch * 10, epoch * 10 + 1]))

    assert list(cycle) == [0, 1, 10, 11, 20, 21]
    assert list(cycle) == []


def test_a_cycle_goes_on_at_an_epoch() -> None:
    cycle = CyclingIterator(3, lambda epoch: iter([epoch]), start_epoch=1)

    assert list(cycle) == [1, 2]


def test_many_empty_epochs_are_passed_over() -> None:
    epochs = 100_000
    cycle = CyclingIterator(epochs, lambda epoch: iter([epoch] * (epoch == epochs - 1)))

    assert list(cycle) == [epochs - 1]
