import os
from pathlib import Path

import pytest

from elaunch.api import RendezvousParameters, StoreRendezvous, UsageError
from elaunch_rdzv_c10d.job_token import TOKEN, TOKEN_FILE, Token, find_token
from elaunch_rdzv_c10d.options import C10dOptions
from elaunch_rdzv_c10d.plugin import elaunch_register_rendezvous
from elaunch_rdzv_c10d.security import load_security


SECRET = b"0123456789abcdef"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_bytes(b"\n  " + SECRET + b" \n")
    path.chmod(0o600)
    return path


def test_it_comes_from_a_file_or_the_environment(file: Path) -> None:
    text = f"  {SECRET.decode()}\n"

    assert find_token(None, {}) is None
    for found in (
        find_token(str(file), {}),
        find_token(None, {TOKEN: text}),
        find_token(None, {TOKEN_FILE: str(file)}),
        find_token(str(file), {TOKEN: "x" * 16, TOKEN_FILE: "nowhere"}),
    ):
        assert found == Token(SECRET)


def test_two_in_the_environment_are_one_too_many(file: Path) -> None:
    with pytest.raises(UsageError, match=f"{TOKEN} and {TOKEN_FILE} are both set"):
        find_token(None, {TOKEN: SECRET.decode(), TOKEN_FILE: str(file)})


@pytest.mark.parametrize("text", ["", " \n", "0123456789abcde", " 0123456789abcde\n"])
def test_a_short_one_is_no_secret(file: Path, text: str) -> None:
    file.write_text(text)
    size = len(text.strip())

    with pytest.raises(UsageError, match=f"has {size} bytes, fewer than 16; make one"):
        find_token(str(file), {})
    with pytest.raises(UsageError) as caught:
        find_token(None, {TOKEN: text})
    assert not text.strip() or text.strip() not in str(caught.value)


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path, file: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UsageError, match=rf"'{path}' \(token_file\) can't be read"):
            find_token(str(path), {})
    file.write_bytes(bytes(65_537))
    with pytest.raises(UsageError, match="has over 65536 bytes"):
        find_token(None, {TOKEN_FILE: str(file)})


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602])
def test_a_file_that_others_may_open_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)

    with pytest.raises(UsageError, match=f"mode 0{mode:o}.*run 'chmod 600 {file}'"):
        find_token(str(file), {})


def test_a_pipe_is_as_good_as_a_file() -> None:
    reading, writing = os.pipe()
    os.write(writing, SECRET)
    os.close(writing)
    try:
        assert find_token(f"/dev/fd/{reading}", {}) == Token(SECRET)
    finally:
        os.close(reading)


@pytest.mark.parametrize("backend", ["c10d", "static"])
def test_nothing_shows_it(
    file: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv(TOKEN, "a secret of sixteen")
    providers = {one.name: one for one in elaunch_register_rendezvous()}
    for config in ({"token_file": str(file)}, {}):
        params = RendezvousParameters(
            backend=backend, endpoint="127.0.0.1:0", run_id="job", config=config
        )
        options = providers[backend].options_class()(**config)
        handler = providers[backend].create(params, options)
        assert isinstance(handler, StoreRendezvous)
        opener = handler._open_store
        shown = f"{params!r} {options!r} {opener!r} {load_security(C10dOptions())!r}"

        assert SECRET.decode() not in shown
        assert "a secret of sixteen" not in shown
        assert "token=Token()" in shown
