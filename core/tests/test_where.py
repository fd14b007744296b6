import pytest

from elaunch.cli.settings import resolve
from elaunch.cli.where import Where, where_to_meet


def where(*flags: str) -> Where:
    return where_to_meet(resolve([*flags, "train.py"], {}).args)


@pytest.mark.parametrize(
    ("flags", "place"),
    [
        ([], ("c10d", "", "")),
        (["--standalone"], ("c10d", "", "")),
        (["--standalone", "--rdzv-backend", "c10d"], ("c10d", "", "")),
        (["--rdzv-endpoint", "a:1", "--rdzv-id", "j"], ("c10d", "a:1", "j")),
        (["--rdzv-backend", "static"], ("static", "", "")),
        (
            ["--rdzv-backend", "static", "--master-port", "1"],
            ("static", "127.0.0.1:1", "none"),
        ),
        (["--master-addr", "a"], ("static", "a:29500", "none")),
        (["--master-port", "1"], ("static", "127.0.0.1:1", "none")),
        (["--master-addr", "a", "--master-port", "1"], ("static", "a:1", "none")),
        (["--master-addr", "::1", "--rdzv-id", "j"], ("static", "[::1]:29500", "j")),
        (["--master-addr", "[::1]"], ("static", "[::1]:29500", "none")),
        (
            ["--master-addr", "a", "--rdzv-endpoint", "a:29500"],
            ("static", "a:29500", "none"),
        ),
    ],
)
def test_the_flags_name_one_place(
    flags: list[str], place: tuple[str, str, str]
) -> None:
    assert where(*flags) == Where(*place)
