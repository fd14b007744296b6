import pytest

from elaunch.cli.settings import resolve
from elaunch.cli.size import parse_nnodes
from elaunch.cli.where import Where, where_to_meet


def where(*flags: str) -> Where:
    resolved = resolve([*flags, "train.py"], {})
    return where_to_meet(resolved, parse_nnodes(resolved.args.nnodes)[1])


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


ONE_HOST = (
    "nodes meet at 127.0.0.1:29500, where only those of this host can, since nobody "
    "said where; give all of them the same --master-addr"
)
LEFT = (
    "the job has no id, and the store of the rendezvous 'etcd' outlives it: a job that "
    "comes later meets what is left of this one; give all nodes the same --rdzv-id"
)

UNUSED = (
    "--master-addr and --master-port have no effect, since nodes meet by the "
    "rendezvous 'c10d' at --rdzv-endpoint a:1"
)


@pytest.mark.parametrize(
    ("flags", "place", "remarks"),
    [
        (["--rdzv-endpoint", "a:1"], ("c10d", "a:1", "none"), ()),
        (["--rdzv-endpoint", "a:1", "--rdzv-id", "j"], ("c10d", "a:1", "j"), ()),
        (
            ["--rdzv-backend", "etcd", "--rdzv-endpoint", "a:1"],
            ("etcd", "a:1", "none"),
            (LEFT,),
        ),
        (["--node-rank", "1"], ("static", "127.0.0.1:29500", "none"), (ONE_HOST,)),
        (
            ["--node-rank", "0", "--rdzv-backend", "static", "--rdzv-id", "j"],
            ("static", "127.0.0.1:29500", "j"),
            (ONE_HOST,),
        ),
        (["--node-rank", "0", "--rdzv-backend", "c10d"], ("c10d", "", "none"), ()),
        ([], ("c10d", "", "none"), ()),
        (
            [
                *("--rdzv-backend", "c10d", "--rdzv-endpoint", "a:1"),
                *("--master-addr", "b", "--master-port", "2"),
            ],
            ("c10d", "a:1", "none"),
            (UNUSED,),
        ),
    ],
)
def test_several_nodes_meet_where_torchruns_would(
    flags: list[str], place: tuple[str, str, str], remarks: tuple[str, ...]
) -> None:
    assert where("--nnodes", "2", *flags) == Where(*place, remarks)
