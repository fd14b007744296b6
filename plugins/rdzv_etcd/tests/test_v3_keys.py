"""Where keys lie in etcd: none leaves its root, none meets another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elaunch_rdzv_etcd.v3.keys import Keys, after


# Mostly of what could be confused.
TEXTS = st.text(
    st.sampled_from("/~ab\x00é\U0010ffff") | st.characters(exclude_categories=["Cs"]),
    max_size=8,
)
ROOTS = st.lists(st.text("ab-._", min_size=1, max_size=3), min_size=0, max_size=3).map(
    lambda names: "/" + "/".join(names)
)


@given(ROOTS, TEXTS)
def test_a_key_is_found_where_it_lies(root: str, key: str) -> None:
    keys = Keys(root)

    assert keys.key(keys.of_key(key)) == key


@given(ROOTS, TEXTS, TEXTS)
def test_no_two_keys_meet(root: str, one: str, other: str) -> None:
    keys = Keys(root)

    assert (keys.of_key(one) == keys.of_key(other)) == (one == other)


@given(ROOTS, TEXTS, TEXTS)
def test_a_range_holds_all_keys_with_its_prefix(
    root: str, prefix: str, rest: str
) -> None:
    keys = Keys(root)
    start, end = keys.range_of(prefix)

    assert start <= keys.of_key(prefix + rest) < end


@given(ROOTS, TEXTS, TEXTS)
def test_a_range_holds_no_others(root: str, prefix: str, key: str) -> None:
    keys = Keys(root)
    start, end = keys.range_of(prefix)
    inside = start <= keys.of_key(key) < end

    # What begins with nothing, or with a slash alone, lies in two places.
    assert inside == (key.startswith(prefix) or prefix in {"", "/"})


@given(ROOTS, ROOTS, TEXTS)
def test_no_key_is_of_two_roots_unless_one_lies_in_the_other(
    one: str, other: str, key: str
) -> None:
    inside = f"{other.rstrip('/')}/".startswith(f"{one.rstrip('/')}/")
    around = f"{one.rstrip('/')}/".startswith(f"{other.rstrip('/')}/")
    found = Keys(other).key(Keys(one).of_key(key))

    if not inside and not around:
        assert found is None


@given(ROOTS, TEXTS, st.binary(max_size=4))
def test_what_is_no_text_is_no_key(root: str, key: str, rest: bytes) -> None:
    keys = Keys(root)

    assert keys.key(keys.of_key(key) + b"\xff" + rest) is None


@given(st.binary(max_size=4).map(lambda rest: b"/" + rest.replace(b"\xff", b"")))
def test_what_is_behind_a_prefix_is_behind_all_that_begin_with_it(
    prefix: bytes,
) -> None:
    end = after(prefix)

    assert prefix + b"\xff" * 8 < end
    assert not end.startswith(prefix)


@pytest.mark.parametrize("root", ["/elaunch", "/elaunch/"])
def test_what_stands_in_etcd_is_readable(root: str) -> None:
    assert Keys(root).of_key("/job/nodes/h-1") == b"/elaunch/job/nodes/h-1"
