from elaunch.cli.run import config_of
from elaunch.cli.settings import resolve


def test_rdzv_conf_may_be_given_several_times() -> None:
    flags = ("--rdzv-conf", "a=1,b=2", "--rdzv-conf", "c=3,a=4")

    config = config_of(resolve([*flags, "train.py"], {}))

    assert config.rdzv_configs == {"a": "4", "b": "2", "c": "3"}


def test_env_may_be_given_several_times() -> None:
    flags = ("--env", "A=1", "--env", "B=x=y", "--env", "A=2", "--env", "C=")

    assert config_of(resolve([*flags, __file__], {})).env == {
        "A": "2",
        "B": "x=y",
        "C": "",
    }


def test_where_workers_run_is_part_of_the_configuration() -> None:
    config = config_of(
        resolve(
            [
                *("--numa-binding", "core-complex", "--threads", "3"),
                *("--virtual-local-rank", "--device-variable", "X", __file__),
            ],
            {},
        )
    )

    assert config.numa_binding == "core-complex"
    assert config.threads == 3
    assert config.virtual_local_rank
    assert config.device_variables == ("X",)
