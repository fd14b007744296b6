"""Options: from text to validated values, with errors that help."""

import attrs
import pytest

from elaunch.errors import UsageError
from elaunch.membership.options import RendezvousOptions
from elaunch.options import build_options, parse_pairs, parse_spec


@attrs.frozen(kw_only=True)
class Options:
    count: int = 1
    ratio: float = 0.5
    flag: bool = False
    host: bool | None = None
    name: str = "x"


class TestPairs:
    def test_pairs_are_stripped_and_values_may_hold_equals(self) -> None:
        assert parse_pairs(" a = 1 ,b=x=y", "--f") == {"a": "1", "b": "x=y"}

    def test_nothing_is_no_pairs(self) -> None:
        assert parse_pairs("  ", "--f") == {}

    @pytest.mark.parametrize("text", ["a", "a=", "=1", "a=1,", ",a=1"])
    def test_what_is_no_pair_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match=r"--f: .* is not of the form key=value"):
            parse_pairs(text, "--f")

    def test_a_key_comes_once(self) -> None:
        with pytest.raises(UsageError, match="'a' is given twice"):
            parse_pairs("a=1,a=2", "--f")


class TestSpec:
    def test_a_name_with_and_without_options(self) -> None:
        assert parse_spec("jsonl", "--f") == ("jsonl", {})
        assert parse_spec("jsonl:path=a:b", "--f") == ("jsonl", {"path": "a:b"})

    def test_a_name_is_needed(self) -> None:
        with pytest.raises(UsageError, match="names no backend"):
            parse_spec(":path=x", "--f")


class TestBuild:
    def test_text_becomes_the_type_of_the_field(self) -> None:
        given = {"count": " 3 ", "ratio": "2", "flag": "yes", "host": "0", "name": "n"}

        assert build_options(Options, given, "--c") == Options(
            count=3, ratio=2.0, flag=True, host=False, name="n"
        )

    def test_values_of_the_type_pass(self) -> None:
        given = {"count": 3, "ratio": 2, "flag": True, "host": None}

        assert build_options(Options, given, "--c") == Options(
            count=3, ratio=2.0, flag=True
        )

    def test_an_unknown_key_suggests_the_nearest(self) -> None:
        with pytest.raises(UsageError, match=r"'cuont'; did you mean 'count'\?"):
            build_options(Options, {"cuont": "1"}, "--c")

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("count", "many", "'count' is of type int, not 'many'"),
            ("flag", "maybe", "'flag' is true or false, not 'maybe'"),
        ],
    )
    def test_a_wrong_type_is_refused(self, key: str, value: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            build_options(Options, {key: value}, "--c")

    @pytest.mark.parametrize("words", ["1 true t yes y TRUE Y", "0 false f no n No F"])
    def test_words_for_true_and_false_are_those_of_torchelastic(
        self, words: str
    ) -> None:
        for word in words.split():
            assert build_options(Options, {"flag": word}, "--c") == Options(
                flag=words[0] == "1"
            )

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("join_timeout", "0"),
            ("last_call_timeout", "-1"),
            ("keep_alive_max_attempt", "0"),
        ],
    )
    def test_the_class_has_the_last_word(self, key: str, value: str) -> None:
        with pytest.raises(UsageError, match=f"--rdzv-conf: '{key}' must"):
            build_options(RendezvousOptions, {key: value}, "--rdzv-conf")


def test_timeout_is_the_join_timeout_unless_that_is_given() -> None:
    assert RendezvousOptions(timeout=7).join_limit == 7
    assert RendezvousOptions(timeout=7, join_timeout=3).join_limit == 3


def test_the_lease_is_what_the_intervals_give_unless_it_is_given() -> None:
    assert RendezvousOptions().silence_limit == 20
    assert RendezvousOptions(keep_alive_interval=2).silence_limit == 8
    assert RendezvousOptions(keep_alive_interval=2, lease_ttl=3).silence_limit == 3
