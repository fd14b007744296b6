"""Where agents listen, and who may ask: a directory of the user, and a token."""

import os
from pathlib import Path

import pytest

from elaunch.endpoint.places import (
    RUNTIME_DIR,
    check_directory,
    make_directory,
    new_name,
    runtime_directory,
)
from elaunch.endpoint.token import TOKEN, TOKEN_FILE, ControlToken, find_token
from elaunch.environ import inherited_environment
from elaunch.errors import UsageError


SECRET = "0123456789abcdef"  # noqa: S105 - of a test


def test_the_directory_is_the_users_unless_the_environment_says_otherwise() -> None:
    assert runtime_directory({}) == f"/tmp/elaunch-{os.getuid()}"  # noqa: S108 - told
    assert runtime_directory({RUNTIME_DIR: "/run/x"}) == "/run/x"


def test_the_directory_is_made_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "agents"
    make_directory(str(path))
    make_directory(str(path))

    assert path.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o710)
    with pytest.raises(PermissionError, match="has mode 0710; it must be this user's"):
        make_directory(str(tmp_path))


def test_a_link_to_a_directory_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError):
        make_directory(str(link))


def test_a_directory_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check_directory(str(tmp_path / "none"))


def test_names_tell_the_process_and_differ() -> None:
    first, second = new_name(), new_name()

    assert first != second
    assert first.startswith(f"{os.getpid()}-")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_is_shown_in_a_header(scheme: str) -> None:
    token = ControlToken(SECRET)

    assert token.is_shown_by(f"{scheme} {SECRET}")
    assert token.is_shown_by(token.header)


@pytest.mark.parametrize(
    "header",
    [
        *("", "Bearer", "Bearer ", f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}"),
        *(f"Basic  {SECRET}", SECRET, f"Bearer {SECRET} {SECRET}", "Bearer \xff"),
    ],
)
def test_nothing_else_shows_it(header: str) -> None:
    assert not ControlToken(SECRET).is_shown_by(header)


def test_a_token_is_in_no_text() -> None:
    assert SECRET not in repr(ControlToken(SECRET))


def test_the_environment_gives_a_token_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)

    assert find_token({}) is None
    assert find_token({TOKEN: "", TOKEN_FILE: ""}) is None
    assert find_token({TOKEN: SECRET}) == ControlToken(SECRET)
    assert find_token({TOKEN_FILE: str(file)}) == ControlToken(SECRET)
    with pytest.raises(UsageError, match="both set"):
        find_token({TOKEN: SECRET, TOKEN_FILE: str(file)})
    file.chmod(0o640)
    with pytest.raises(UsageError, match="open to other users"):
        find_token({TOKEN_FILE: str(file)})
    with pytest.raises(UsageError, match="can't be read: No such file"):
        find_token({TOKEN_FILE: f"{file}x"})


@pytest.mark.parametrize(
    "text", ["short", "x" * 2000, "with a space in it", "umläute-umläute-"]
)
def test_what_is_no_token_is_told_and_not_shown(text: str) -> None:
    with pytest.raises(UsageError, match="must have from 16 to 1024") as told:
        find_token({TOKEN: text})
    assert text not in str(told.value)


def test_workers_do_not_get_the_token() -> None:
    assert TOKEN not in inherited_environment({TOKEN: SECRET})
