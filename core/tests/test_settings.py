"""Which of flag, variable, file and default counts, and what each may say."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from elaunch.cli.actions import flag_of, settings_of
from elaunch.cli.found import Origin
from elaunch.cli.parser import run_parser
from elaunch.cli.run import config_of
from elaunch.cli.settings import Resolved, resolve
from elaunch.cli.strangers import mistyped
from elaunch.cli.variables import names_of
from elaunch.environ import BY_AGENT, BY_BOOTSTRAP, BY_SPAWNER, TABLE, WITHHELD
from elaunch.errors import UsageError


Environment = Mapping[str, str]
SETTINGS = settings_of(run_parser("elaunch run"))
SWITCHES = sorted(d for d, a in SETTINGS.items() if a.nargs == 0)
LISTS = sorted(d for d, a in SETTINGS.items() if isinstance(a.default, list))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resolved(*words: str, **environment: str) -> Resolved:
    return resolve([*words, "train.py"], environment)


def said(setting: str, found: Resolved) -> tuple[object, str]:
    return getattr(found.args, setting), found.sources[setting]


def refused(*words: str, **environment: str) -> str:
    with pytest.raises(UsageError) as caught:
        resolved(*words, **environment)
    return str(caught.value)


def test_each_source_counts_before_the_next(folder: Path) -> None:
    job = folder / "job.toml"
    job.write_text("max_restarts = 3")
    file = ("--config", "job.toml")
    pet, ours = {"PET_MAX_RESTARTS": "2"}, {"ELAUNCH_MAX_RESTARTS": "1"}

    for words, environment, expected in (
        ((*file, "--max-restarts", "9"), pet | ours, (9, "--max-restarts")),
        (file, pet | ours, (1, "ELAUNCH_MAX_RESTARTS")),
        (file, pet, (2, "PET_MAX_RESTARTS")),
        (file, {}, (3, "job.toml")),
        ((), {}, (0, "default")),
    ):
        assert said("max_restarts", resolved(*words, **environment)) == expected


def test_what_may_be_given_several_times_is_replaced_as_a_whole(folder: Path) -> None:
    (folder / "job.toml").write_text("rdzv-conf = ['d=4', 'e=5']")
    file = ("--config", "job.toml")
    flags = ("--rdzv-conf", "a=1", "--rdzv-conf", "a=2")
    pet, ours = {"PET_RDZV_CONF": "c=3"}, {"ELAUNCH_RDZV_CONF": "b=2"}

    for words, environment, expected in (
        ((*file, *flags), pet | ours, (["a=1", "a=2"], "--rdzv-conf")),
        (file, pet | ours, (["b=2"], "ELAUNCH_RDZV_CONF")),
        (file, pet, (["c=3"], "PET_RDZV_CONF")),
        (file, pet | {"ELAUNCH_RDZV_CONF": ""}, ([], "ELAUNCH_RDZV_CONF")),
        (file, {}, (["d=4", "e=5"], "job.toml")),
    ):
        assert said("rdzv_conf", resolved(*words, **environment)) == expected


def test_a_switch_is_turned_off_by_who_counts_more(folder: Path) -> None:
    (folder / "job.toml").write_text("virtual-local-rank = false")
    file, flag = ("--config", "job.toml"), ("--virtual-local-rank",)
    pet = {"PET_VIRTUAL_LOCAL_RANK": "1"}
    ours = {"ELAUNCH_VIRTUAL_LOCAL_RANK": "0"}

    for words, environment, expected in (
        ((*file, *flag), pet | ours, (True, *flag)),
        (file, pet | ours, (False, *ours)),
        (file, pet, (True, *pet)),
        (file, {}, (False, "job.toml")),
    ):
        assert said("virtual_local_rank", resolved(*words, **environment)) == expected


def test_a_names_own_scheme_counts_before_torchelastics_other_names() -> None:
    other = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "3"}

    assert said("shutdown_timeout", resolved(**other)) == (3.0, *other)
    pet = resolved(**other, PET_SHUTDOWN_TIMEOUT="4")
    assert said("shutdown_timeout", pet) == (4.0, "PET_SHUTDOWN_TIMEOUT")


def text_for(setting: str) -> str:
    action = SETTINGS[setting]
    if action.nargs == 0:
        return "1"
    if action.choices:
        return str(list(action.choices)[-1])
    return {"config": "", "nnodes": "1:1"}.get(setting, "1")


@pytest.mark.parametrize("setting", sorted(SETTINGS))
def test_every_flag_has_a_variable_that_says_the_same(setting: str) -> None:
    text = text_for(setting)
    flag = [flag_of(SETTINGS[setting]), *([] if setting in SWITCHES else [text])]

    by_flag = getattr(resolved(*flag).args, setting)
    for name in names_of(setting):
        by_variable = getattr(resolved(**{name: text}).args, setting)
        assert by_variable == by_flag, name
        assert type(by_variable) is type(by_flag)


@pytest.mark.parametrize("setting", sorted(SETTINGS.keys() - {"config"}))
def test_every_flag_has_a_key_in_a_file_that_says_the_same(
    setting: str, folder: Path
) -> None:
    value = "true" if setting in SWITCHES else f"'{text_for(setting)}'"
    variable = resolved(**{names_of(setting)[0]: text_for(setting)})
    for key in (setting, setting.replace("_", "-")):
        (folder / "job.toml").write_text(f"{key} = {value}")
        file = resolved("--config", "job.toml")

        assert getattr(file.args, setting) == getattr(variable.args, setting)
        assert file.sources[setting] == "job.toml"
        assert file.origins[setting] is Origin.FILE


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, True) for text in ("1", "true", "YES", "t", "y", "on", "2", " 1 ")),
        *((text, False) for text in ("0", "false", "no", "F", "n", "Off", "00")),
    ],
)
def test_a_variable_turns_a_switch_on_or_off(text: str, value: bool) -> None:  # noqa: FBT001 - a table of texts and what they mean
    assert said("log_timestamps", resolved(ELAUNCH_LOG_TIMESTAMPS=text)) == (
        value,
        "ELAUNCH_LOG_TIMESTAMPS",
    )


def test_a_variable_turns_off_what_a_file_turned_on(folder: Path) -> None:
    (folder / "job.toml").write_text("log-timestamps = true")
    found = resolved("--config", "job.toml", ELAUNCH_LOG_TIMESTAMPS="0")

    assert not found.args.log_timestamps


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("PET_MAX_RESTARTS", "abc", "PET_MAX_RESTARTS is of type int, as --max-rest"),
        ("ELAUNCH_MAX_RESTARTS", "", "not ''; correct it, or take it away"),
        ("ELAUNCH_SHUTDOWN_TIMEOUT", "soon", "is of type float"),
        ("PET_STANDALONE", "maybe", "PET_STANDALONE is 1 or 0, true or false, yes or"),
        ("PET_START_METHOD", "spwan", "PET_START_METHOD must be one of 'fork', 'forks"),
        ("PET_START_METHOD", "spwan", "did you mean 'spawn'?"),
        ("ELAUNCH_NODE_RANK", "x", "ELAUNCH_NODE_RANK is of type int"),
    ],
)
def test_a_variable_may_say_no_more_than_its_flag(
    name: str, text: str, message: str
) -> None:
    assert message in refused(**{name: text})


def test_several_values_in_one_variable() -> None:
    found = resolved(
        ELAUNCH_ENV="A=1,2;B=x;;y; C=",
        ELAUNCH_MONITOR="process:interval=1,stuck=2;other",
        ELAUNCH_EVENT_RECORDER="",
        ELAUNCH_RDZV_CONF="a=1,b=2",
        ELAUNCH_VIRTUAL_LOCAL_RANK="1",
        ELAUNCH_DEVICE_VARIABLE="X, Y",
        ELAUNCH_START_METHOD="warm",
        ELAUNCH_PRELOAD="os,re",
        ELAUNCH_BLOCK_PLUGINS="p,q",
    )
    config = config_of(found)

    assert config.env == {"A": "1,2", "B": "x;y", "C": ""}
    assert config.monitors == ("process:interval=1,stuck=2", "other")
    assert config.event_recorders == ()
    assert config.rdzv_configs == {"a": "1", "b": "2"}
    assert config.device_variables == ("X", "Y")
    assert config.preload == ("os", "re")
    assert config.block_plugins == ("p", "q")


FILE = """
script = "train.py"
args = ["--lr", "0.1"]
nnodes = 1
nproc-per-node = 4
redirects = { 0 = 3, 1 = 1 }
local_ranks_filter = [0, 2]
duplicate-stdout-filters = ["loss", "a,b"]
preload = ["os", "re"]
start-method = "warm"
shutdown-timeout = 5
spawner = { local = {} }
event-recorder = ["console", "jsonl:path=x"]
log-timestamps = true

[rdzv_conf]
is_host = true
timeout = 2.5

[env]
NAME = "a;b"
COUNT = 3

[monitor.process]
interval = 2
"""


def test_tables_and_arrays_of_a_file(folder: Path) -> None:
    (folder / "job.toml").write_text(FILE)
    found = resolve(["--config", "job.toml"], {})
    config = config_of(found)

    assert (found.args.script, found.args.args) == ("train.py", ["--lr", "0.1"])
    assert found.sources["script"] == found.sources["args"] == "job.toml"
    assert (config.max_nodes, config.nproc_per_node) == (1, 4)
    assert config.redirects == {0: 3, 1: 1}
    assert config.local_ranks_filter
    assert 2 in config.local_ranks_filter
    assert config.duplicate_stdout_filters == ("loss", "a,b")
    assert config.preload == ("os", "re")
    assert config.shutdown_timeout == 5
    assert config.spawner == "local"
    assert config.event_recorders == ("console", "jsonl:path=x")
    assert config.monitors == ("process:interval=2",)
    assert config.rdzv_configs == {"is_host": "true", "timeout": "2.5"}
    assert config.env == {"NAME": "a;b", "COUNT": "3"}
    assert config.log_timestamps


def test_a_script_on_the_command_line_takes_the_place_of_the_files_and_its_args(
    folder: Path,
) -> None:
    (folder / "job.toml").write_text("script = 'a.py'\nargs = ['x']\nnnodes = '1:1'")
    found = resolve(["--config", "job.toml", "b.py"], {})

    assert (found.args.script, found.args.args) == ("b.py", [])
    assert said("nnodes", found) == ("1:1", "job.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nnode = 2", "job.toml: there is no setting 'nnode'; did you mean 'nnodes'?"),
        ("scrpt = 'x'", "did you mean 'script'?"),
        ("max_restarts = 'x'", "job.toml: 'max_restarts' is of type int"),
        ("max-restarts = 1.5", "job.toml: 'max-restarts' is of type int"),
        ("max-restarts = true", "'max-restarts' is a text or a number, not True"),
        ("standalone = 'yes'", "job.toml: 'standalone' is true or false, not 'yes'"),
        ("start-method = 'warn'", "'start-method' must be one of"),
        ("role = ['a']", "job.toml: 'role' is a text or a number, not ['a']"),
        ("role = { a = 1 }", "job.toml: 'role' can't be a table"),
        ("spawner = { a = {}, b = {} }", "is a table of one backend, not of 2"),
        ("monitor = { process = 1 }", "'process' is 1"),
        ("rdzv-conf = { a = '1,2' }", "the value of 'a' can't hold a comma"),
        ("rdzv-conf = { a = [1] }", "'rdzv-conf' is a text or a number, not [1]"),
        ("args = 'x'", "job.toml: 'args' is an array of texts, not 'x'"),
        ("args = ['x']", "job.toml: 'args' are the script's; give 'script'"),
        ("config = 'x'", "there is no setting 'config'"),
        ("role = 'a'\nrdzv-id = 'a'\nrdzv_id = 'b'", "'rdzv_id' is given twice"),
        ("role =", "job.toml is not TOML: Invalid value"),
        ("module = true\nno-python = true", "job.toml and job.toml exclude each other"),
    ],
)
def test_a_file_may_say_no_more_than_flags(
    text: str, message: str, folder: Path
) -> None:
    (folder / "job.toml").write_text(text)

    assert message in refused("--config", "job.toml")
    assert message in refused(ELAUNCH_CONFIG="job.toml")


def test_what_a_number_in_a_file_must_be_is_told_with_its_key(folder: Path) -> None:
    for text, message in (
        ("nproc-per-node = 'x'", "job.toml: 'nproc-per-node' 'x' is unsupported"),
        ("nnodes = 'x'", "job.toml: 'nnodes' is N or MIN:MAX"),
    ):
        (folder / "job.toml").write_text(text)
        with pytest.raises(UsageError, match=message):
            config_of(resolved("--config", "job.toml"))


def test_a_file_that_is_not_there() -> None:
    assert refused("--config", "x.toml") == (
        "--config 'x.toml': No such file or directory"
    )
    assert refused(ELAUNCH_CONFIG="x.toml").startswith("ELAUNCH_CONFIG 'x.toml': No ")


def test_a_project_that_is_named_has_a_table_for_us(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.other]\nx = 1")

    assert refused("--config", "pyproject.toml") == (
        "--config 'pyproject.toml': it has no table 'tool.elaunch'"
    )
    (folder / "my-pyproject.toml").write_text("max-restarts = 4")
    found = resolved("--config", "my-pyproject.toml")
    assert said("max_restarts", found) == (4, "my-pyproject.toml")


@pytest.mark.parametrize(
    "text",
    [
        "[tool]\nelaunch = { max-restarts = 4 }",
        "[tool]\nelaunch.max-restarts = 4",
        "[ tool . elaunch ]\nmax-restarts = 4",
        "[tool.'elaunch']\nmax-restarts = 4",
    ],
)
def test_a_table_for_us_may_be_written_in_any_way(text: str, folder: Path) -> None:
    (folder / "pyproject.toml").write_text(text)

    assert said("max_restarts", resolved()) == (4, "pyproject.toml")


def test_the_project_is_read_if_it_has_a_table_for_us(folder: Path) -> None:
    project = folder / "pyproject.toml"
    project.write_text("[project]\nname = 'x'\n[tool.elaunch]\nmax-restarts = 4")

    assert said("max_restarts", resolved()) == (4, "pyproject.toml")
    assert said("max_restarts", resolved("--config", "")) == (0, "default")
    assert said("max_restarts", resolved(ELAUNCH_CONFIG="")) == (0, "default")
    assert said("max_restarts", resolved("--config", str(project)))[0] == 4
    (folder / "job.toml").write_text("")
    assert said("max_restarts", resolved("--config", "job.toml")) == (0, "default")


@pytest.mark.parametrize(
    "text", ["", "[tool.other]\nx = 1", "this is no TOML", "# tool.elaunch\n[tool]"]
)
def test_a_project_that_says_nothing_to_us_is_no_error(text: str, folder: Path) -> None:
    (folder / "pyproject.toml").write_text(text)

    assert set(resolved().sources.values()) == {"default", "command line"}


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        (
            ["--standalone"],
            {
                "ELAUNCH_NNODES": "2",
                "PET_RDZV_ENDPOINT": "h:1",
                "PET_RDZV_BACKEND": "etcd",
                "PET_RDZV_ID": "j",
                "PET_MASTER_ADDR": "h",
                "PET_MASTER_PORT": "3",
                "PET_NODE_RANK": "1",
                "PET_RDZV_CONF": "protocol=https",
            },
            {
                "standalone": True,
                "nnodes": "1",
                "rdzv_endpoint": "",
                "rdzv_backend": None,
                "rdzv_id": "",
                "node_rank": None,
                "rdzv_conf": [],
                "master_addr": None,
                "master_port": None,
            },
        ),
        (
            ["--standalone", "--rdzv-id", "j"],
            {"ELAUNCH_RDZV_ID": "i"},
            {"standalone": True, "rdzv_id": "j"},
        ),
        (
            ["--rdzv-endpoint", "h:1"],
            {"ELAUNCH_STANDALONE": "1"},
            {"standalone": False, "rdzv_endpoint": "h:1"},
        ),
        (["--nnodes", "2"], {"PET_STANDALONE": "1"}, {"standalone": False}),
        (
            [],
            {"PET_STANDALONE": "1", "PET_RDZV_ENDPOINT": "h:1", "PET_NODE_RANK": "0"},
            {"standalone": True, "rdzv_endpoint": "", "node_rank": 0},
        ),
        (
            ["--no-python"],
            {"ELAUNCH_MODULE": "1"},
            {"no_python": True, "module": False},
        ),
        (
            [],
            {"ELAUNCH_MODULE": "1", "PET_NO_PYTHON": "1"},
            {"no_python": False, "module": True},
        ),
        (["-v"], {"ELAUNCH_QUIET": "1"}, {"verbose": True, "quiet": False}),
        (
            ["--rdzv-endpoint", "h:1"],
            {"PET_MASTER_ADDR": "a", "PET_MASTER_PORT": "2"},
            {"rdzv_endpoint": "h:1", "master_addr": None, "master_port": None},
        ),
        (
            ["--master-addr", "a"],
            {"PET_RDZV_ENDPOINT": "h:1", "PET_RDZV_BACKEND": "c10d"},
            {"rdzv_endpoint": "", "rdzv_backend": None, "master_addr": "a"},
        ),
        (
            [],
            {"PET_RDZV_ENDPOINT": "h:1", "PET_MASTER_ADDR": "a"},
            {"rdzv_endpoint": "h:1", "master_addr": None},
        ),
        (
            ["--rdzv-backend", "static"],
            {"PET_MASTER_ADDR": "a"},
            {"rdzv_backend": "static", "master_addr": "a"},
        ),
    ],
)
def test_what_is_said_more_explicitly_wins(
    words: list[str], environment: Environment, expected: dict[str, object]
) -> None:
    found = resolved(*words, **environment)

    assert {name: getattr(found.args, name) for name in expected} == expected
    for name, value in expected.items():
        if value is False or value in (None, "", []):
            assert found.sources[name] == "default"


def test_two_variables_that_exclude_each_other() -> None:
    assert refused(ELAUNCH_MODULE="1", ELAUNCH_NO_PYTHON="1") == (
        "ELAUNCH_MODULE and ELAUNCH_NO_PYTHON exclude each other: one asks for "
        "'module', one for 'no_python'; leave out one of them"
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ELAUNCH_NPROC", "ELAUNCH_NPROC_PER_NODE"),
        ("PET_NPROC_PER_NOD", "PET_NPROC_PER_NODE"),
        ("PET_NNODE", "PET_NNODES"),
        ("ELAUNCH_THREAD", "ELAUNCH_THREADS"),
    ],
)
def test_a_mistyped_variable_is_told(name: str, meant: str) -> None:
    assert [*mistyped({name: "2", meant: "1"}, SETTINGS)] == [
        f"the variable {name} says nothing; did you mean {meant}?"
    ]


def test_what_is_no_settings_variable_may_be_somebody_elses() -> None:
    names = [variable.name for variable in TABLE]
    ours = [name for setting in SETTINGS for name in names_of(setting)]
    theirs = ["ELAUNCH_RDZV_TOKEN_FILE", "ELAUNCH_ETCD_BINARY", "ELAUNCH_SITE", "PETS"]

    parts = [*BY_AGENT, *BY_SPAWNER, *WITHHELD]

    environment = dict.fromkeys((*names, *ours, *theirs, *parts), "x")

    assert [*mistyped(environment, SETTINGS)] == []


def test_no_variable_of_a_worker_is_a_setting_of_what_it_launches() -> None:
    parts = BY_AGENT.keys() | BY_BOOTSTRAP.keys() | BY_SPAWNER.keys()
    given = {v.name for v in TABLE} | parts

    assert given & {name for setting in SETTINGS for name in names_of(setting)} == set()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--nproc_per_node", "2"], {"nproc_per_node": "2"}),
        (["--nproc_per_node=2"], {"nproc_per_node": "2"}),
        (["--nproc-per_node=2"], {"nproc_per_node": "2"}),
        (["--redirect", "3"], {"redirects": "3"}),
        (["--redirect=3"], {"redirects": "3"}),
        (["--re=3"], {"redirects": "3"}),
        (["--event-", "null"], {"event_log_handler": "null"}),
        (["--rdzv_b", "static"], {"rdzv_backend": "static"}),
        (["-r3"], {"redirects": "3"}),
        (["-vr", "3"], {"redirects": "3", "verbose": True}),
        (["-r", "3", "-t", "0:1"], {"redirects": "3", "tee": "0:1"}),
        (["--tee", "--rdzv_id"], None),
        (["--role", "a_b"], {"role": "a_b"}),
        (
            ["--rdzv_conf", "a_b=1", "--rdzv_conf=c_d=2"],
            {"rdzv_conf": ["a_b=1", "c_d=2"]},
        ),
    ],
)
def test_flags_may_be_spelled_with_underscores_and_cut_short(
    words: list[str], expected: dict[str, object] | None
) -> None:
    if expected is None:
        assert "expected one argument" in refused(*words)
        return
    found = resolved(*words)

    assert {name: getattr(found.args, name) for name in expected} == expected
    assert found.args.script == "train.py"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nodes", "2"], "unrecognized arguments: --nodes; did you mean '--nnodes'?"),
        (["--nproc_pre_node=2"], "did you mean '--nproc-per-node'?"),
        (
            ["--rdzv"],
            "ambiguous flag '--rdzv': it may be --rdzv-backend or --rdzv-conf",
        ),
        (["-x"], "unrecognized arguments: -x"),
        (["--module", "--no-python"], "argument --no-python: not allowed with"),
    ],
)
def test_flags_that_there_are_not(words: list[str], message: str) -> None:
    assert message in refused(*words)


@pytest.mark.parametrize(
    ("words", "script", "args"),
    [
        (["x.py", "--nnodes", "3", "-v"], "x.py", ["--nnodes", "3", "-v"]),
        (["x.py", "--nproc_per_node", "3"], "x.py", ["--nproc_per_node", "3"]),
        (["--", "x.py", "-a"], "x.py", ["-a"]),
        (["-m", "pkg.mod", "--help"], "pkg.mod", ["--help"]),
    ],
)
def test_all_after_the_script_is_the_scripts(
    words: list[str], script: str, args: list[str]
) -> None:
    found = resolve(words, {})

    assert (found.args.script, found.args.args) == (script, args)
    assert (found.args.nnodes, found.args.verbose) == ("1", False)
