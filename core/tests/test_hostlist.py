"""Lists of hosts, as Slurm writes them."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elaunch.schedulers.hostlist import Hosts, read_hosts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n1", ["n1"]),
        ("n1,n2", ["n1", "n2"]),
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[001-003]", ["n001", "n002", "n003"]),
        ("n[1,3]", ["n1", "n3"]),
        ("n[001-002,007]-ib,gpu5", ["n001-ib", "n002-ib", "n007-ib", "gpu5"]),
        ("gpu5,n[8-10]", ["gpu5", "n8", "n9", "n10"]),
        ("n[08-10]", ["n08", "n09", "n10"]),
        ("n[9-11,20]", ["n9", "n10", "n11", "n20"]),
        ("r[1-2]n[01-02]", ["r1n01", "r1n02", "r2n01", "r2n02"]),
        ("[10-11].cluster", ["10.cluster", "11.cluster"]),
        ("a-b.c[5-5]", ["a-b.c5"]),
        ("localhost", ["localhost"]),
    ],
)
def test_a_list_has_a_first_host_and_so_many(text: str, expected: list[str]) -> None:
    assert read_hosts(text) == Hosts(expected[0], len(expected))


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "a,", ",a", "a,,b", "n[", "n[1", "n]", "n[]", "n[1-]", "n[-1]"),
        *("n[a]", "n[3-1]", "n[1-2-3]", "n[1,]", "n[[1]]", "n[1-2]]", "a,n["),
    ],
)
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no list|no range|ends before"):
        read_hosts(text)


def test_no_list_is_too_long() -> None:
    huge = "n[0-999999999999]r[0-999999999999]"

    assert read_hosts(huge) == Hosts("n0r0", 10**24)
    assert read_hosts("[1-2]" * 5000) == Hosts("1" * 5000, 2**5000)


names = st.text("abcxyz-", min_size=1, max_size=5)
ranges = st.tuples(st.integers(0, 200), st.integers(0, 5), st.integers(0, 4))


@given(st.lists(st.tuples(names, st.lists(ranges, max_size=3), names), min_size=1))
def test_what_is_written_as_a_list_is_read_as_its_hosts(
    parts: list[tuple[str, list[tuple[int, int, int]], str]],
) -> None:
    words, expected = [], []
    for head, numbers, tail in parts:
        texts = []
        for first, more, width in numbers:
            texts.append(f"{first:0{width}d}-{first + more:0{width}d}")
            wide = max(width, len(str(first)))
            spelt = [f"{n:0{wide}d}" for n in range(first, first + more + 1)]
            expected += [f"{head}{number}{tail}" for number in spelt]
        if not numbers:
            expected.append(head + tail)
        words.append(f"{head}[{','.join(texts)}]{tail}" if texts else head + tail)

    assert read_hosts(",".join(words)) == Hosts(expected[0], len(expected))


@given(st.lists(st.lists(ranges, min_size=1, max_size=2), min_size=1, max_size=3))
def test_several_brackets_are_all_combinations(
    brackets: list[list[tuple[int, int, int]]],
) -> None:
    choices = [
        [f"{n:0{max(w, len(str(f)))}d}" for f, m, w in b for n in range(f, f + m + 1)]
        for b in brackets
    ]
    text = "".join(
        "[" + ",".join(f"{f:0{w}d}-{f + m:0{w}d}" for f, m, w in b) + "]"
        for b in brackets
    )
    expected = ["".join(words) for words in itertools.product(*choices)]

    assert read_hosts(text) == Hosts(expected[0], len(expected))


@given(st.text("n[]0129-,", max_size=20))
def test_any_text_is_a_list_or_is_refused(text: str) -> None:
    try:
        first = read_hosts(text).first
    except ValueError:
        return
    assert first
    assert not set(first) & set("[],")
