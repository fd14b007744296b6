"""Keys and their paths."""

import pytest

from elaunch_rdzv_etcd.v2.paths import Paths


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("/job/nodes/h-1", "/elaunch/job/nodes/h-1="),
        ("/job id/nodes/h-1", "/elaunch/job~20id/nodes/h-1="),
        ("/a", "/elaunch/a="),
        ("a/b", "/elaunch/~~/a/b="),
        ("a", "/elaunch/~~/a="),
        ("", "/elaunch/~~/~="),
        ("/", "/elaunch/~="),
        ("//x//", "/elaunch/~/x/~/~="),
        ("/../.", "/elaunch/~2E~2E/~2E="),
        ("/_hidden/__", "/elaunch/~5Fhidden/~5F_="),
        ("/100%/~/=?#&", "/elaunch/100~25/~7E/~3D~3F~23~26="),
        ("/ü\n", "/elaunch/~C3~BC~0A="),
    ],
)
def test_a_key_has_a_path_and_comes_back(key: str, path: str) -> None:
    paths = Paths("/elaunch")

    assert paths.of_key(key) == path
    assert paths.key(path) == key


@pytest.mark.parametrize("key", ["/a", "a", "/"])
def test_the_root_can_be_all_of_etcd(key: str) -> None:
    paths = Paths("/")

    assert paths.key(paths.of_key(key)) == key


@pytest.mark.parametrize(
    ("prefix", "directory"),
    [
        ("", "/elaunch"),
        ("/", "/elaunch"),
        ("/job/no", "/elaunch/job"),
        ("/job/nodes/", "/elaunch/job/nodes"),
        ("jo", "/elaunch/~~"),
    ],
)
def test_a_prefix_has_the_deepest_directory_of_all_its_keys(
    prefix: str, directory: str
) -> None:
    assert Paths("/elaunch/").of_prefix(prefix) == directory


@pytest.mark.parametrize("path", ["/elaunch/job", "/elsewhere/a=", "/elaunchy/a="])
def test_what_others_write_is_no_key(path: str) -> None:
    assert Paths("/elaunch").key(path) is None
