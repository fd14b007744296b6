from functools import partial

import pytest

from elaunch_rdzv_c10d.table import KeyTable, NotANumberError, to_number


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "number"),
        [
            (b"0", 0),
            (b"000", 0),
            (b"17", 17),
            (b"-17", -17),
            (b"+17", 17),
            (b" \t\n\v\f\r12abc", 12),
            (b"0x10", 0),
            (b"00000000000000000000000000000012", 12),
            (b"9223372036854775807", (1 << 63) - 1),
            (b"-9223372036854775808", -(1 << 63)),
        ],
    )
    def test_are_read_as_in_c(self, value: bytes, number: int) -> None:
        assert to_number(value) == number

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b" ",
            b"abc",
            b"-",
            b"+ 1",
            b"\xff",
            b"9223372036854775808",
            b"-9223372036854775809",
            b"1" * 5_000,
        ],
    )
    def test_are_refused_where_c_fails(self, value: bytes) -> None:
        with pytest.raises(NotANumberError):
            to_number(value)


class TestKeys:
    def test_add_counts_from_nothing(self) -> None:
        table = KeyTable()

        assert [table.add(b"n", delta) for delta in (0, 5, -7)] == [0, 5, -2]
        assert table.get(b"n") == b"-2"

    def test_add_wraps_around(self) -> None:
        table = KeyTable()
        table.set(b"n", b"9223372036854775807")
        table.set(b"m", b"-9223372036854775808")

        assert table.add(b"n", 1) == -(1 << 63)
        assert table.add(b"m", -1) == (1 << 63) - 1

    def test_add_to_text_changes_nothing(self) -> None:
        table = KeyTable()
        table.set(b"n", b"text")

        with pytest.raises(NotANumberError):
            table.add(b"n", 1)
        assert table.get(b"n") == b"text"

    def test_append_creates_and_lengthens(self) -> None:
        table = KeyTable()
        table.append(b"k", b"a")
        table.append(b"k", b"b")

        assert table.get(b"k") == b"ab"

    def test_compare_set_creates_only_if_nothing_is_expected(self) -> None:
        table = KeyTable()

        assert table.compare_set(b"k", b"expected", b"desired") == b"expected"
        assert not table.has_all([b"k"])
        assert table.compare_set(b"k", b"", b"desired") == b"desired"
        assert table.get(b"k") == b"desired"

    def test_compare_set_replaces_only_what_is_expected(self) -> None:
        table = KeyTable()
        table.set(b"k", b"0")

        assert table.compare_set(b"k", b"1", b"2") == b"0"
        assert table.compare_set(b"k", b"0", b"1") == b"1"
        assert table.compare_set(b"k", b"", b"2") == b"1"

    def test_delete_tells_whether_it_deleted(self) -> None:
        table = KeyTable()
        table.set(b"k", b"")

        assert table.delete(b"k")
        assert not table.delete(b"k")
        assert len(table) == 0


class TestWaits:
    def test_end_at_once_if_all_is_there(self) -> None:
        table = KeyTable()
        woken: list[str] = []
        table.set(b"a", b"")

        assert table.wait([b"a"], lambda: woken.append("a")) is None
        assert table.wait([], lambda: woken.append("none")) is None
        assert woken == []

    def test_end_once_when_the_last_key_appears(self) -> None:
        table = KeyTable()
        woken: list[str] = []
        table.set(b"a", b"")
        table.wait([b"a", b"b", b"c", b"b"], lambda: woken.append("done"))

        table.set(b"b", b"")
        table.set(b"b", b"again")
        before = list(woken)
        table.add(b"c", 0)
        table.set(b"c", b"again")

        assert before == []
        assert woken == ["done"]

    def test_need_each_key_only_once(self) -> None:
        table = KeyTable()
        woken: list[str] = []
        table.wait([b"a", b"b"], lambda: woken.append("done"))

        table.set(b"a", b"")
        table.delete(b"a")
        table.append(b"b", b"")

        assert woken == ["done"]

    def test_end_only_when_a_compare_set_stores(self) -> None:
        table = KeyTable()
        woken: list[str] = []
        table.wait([b"a"], lambda: woken.append("done"))

        table.compare_set(b"a", b"something", b"x")
        before = list(woken)
        table.compare_set(b"a", b"", b"x")

        assert before == []
        assert woken == ["done"]

    def test_can_be_forgotten(self) -> None:
        table = KeyTable()
        woken: list[str] = []
        forgotten = table.wait([b"a", b"b"], lambda: woken.append("forgotten"))
        kept = table.wait([b"a"], lambda: woken.append("kept"))
        assert forgotten
        assert kept

        table.forget(forgotten)
        table.forget(forgotten)
        table.set(b"a", b"")
        table.set(b"b", b"")
        table.forget(kept)

        assert woken == ["kept"]

    def test_can_be_forgotten_when_another_of_the_same_key_ends(self) -> None:
        """So does a connection that is dropped because another's has grown."""
        table = KeyTable()
        woken: list[str] = []

        def drop_the_next() -> None:
            woken.append("first")
            assert dropped
            table.forget(dropped)

        table.wait([b"a"], drop_the_next)
        dropped = table.wait([b"a"], lambda: woken.append("dropped"))
        table.wait([b"a"], lambda: woken.append("last"))
        table.set(b"a", b"")

        assert woken == ["first", "last"]

    def test_of_many_end_in_their_order(self) -> None:
        table = KeyTable()
        woken: list[int] = []
        for number in range(5):
            table.wait([b"a"], partial(woken.append, number))

        table.set(b"a", b"")

        assert woken == [0, 1, 2, 3, 4]
