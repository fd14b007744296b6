from elaunch.cli.parser import parse
from elaunch.cli.run import config_of


def test_rdzv_conf_may_be_given_several_times() -> None:
    flags = ("--rdzv-conf", "a=1,b=2", "--rdzv-conf", "c=3,a=4")

    config = config_of(parse(["run", *flags, "train.py"]))

    assert config.rdzv_configs == {"a": "4", "b": "2", "c": "3"}
