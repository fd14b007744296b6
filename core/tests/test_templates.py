import pytest

from elaunch.templates import render


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("out-{rank}.log", "out-3.log"),
        ("{host}:{local_rank}", "n0:1"),
        ("{{rank}}", "{rank}"),
        ('{"rank": 1}', '{"rank": 1}'),
        ("{} {0} {Rank} {ranks} {", "{} {0} {Rank} {ranks} {"),
        ("{{ rank }} ${rank} ${{rank}}", "{{ rank }} 3 ${rank}"),
        ("{role}", "{role}"),
    ],
)
def test_only_known_names_are_replaced(template: str, text: str) -> None:
    names = {"rank": "3", "local_rank": "1", "host": "n0"}

    assert render(template, names) == text


def test_a_value_is_not_a_template() -> None:
    assert render("{host}", {"host": "{rank}", "rank": "3"}) == "{rank}"
