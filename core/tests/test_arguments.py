"""What of the command line belongs to elaunch, and what to the script."""

import pytest

from elaunch.cli.parser import parse
from elaunch.errors import UsageError


@pytest.mark.parametrize(
    "words",
    [
        ("--nnodes", "9", "--master-addr", "there", "-m", "--help"),
        ("a", "--", "-v", "--no-such-flag"),
        ("a", "--local_rank=${local_rank}", "", "-"),
    ],
)
def test_what_follows_the_script_belongs_to_it(words: tuple[str, ...]) -> None:
    args = parse(["run", "--nnodes", "2", "train.py", *words])

    assert (args.script, args.nnodes, args.module) == ("train.py", "2", False)
    assert tuple(args.args) == words


@pytest.mark.parametrize(
    "kinds",
    [("--no-python", "-m"), ("--run-path", "--module"), ("--no-python", "--run-path")],
)
def test_kinds_of_scripts_exclude_each_other(kinds: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="not allowed with argument"):
        parse(["run", *kinds, "train"])
