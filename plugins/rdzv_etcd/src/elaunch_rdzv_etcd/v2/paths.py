"""Keys as paths in etcd's tree of directories, without loss.

etcd reads a path as directories and a file, hides names that begin with ``_``, folds
``//`` and ``..``, and can't have a file and a directory of one name. So each part of a
key is escaped (``~`` and two hexadecimal digits for each byte that is not a letter, a
digit, ``-``, ``.`` or ``_``) and the name of a file ends with ``=``, which no directory
does: the key ``/job id/nodes/h-1`` lies at ``/elaunch/job~20id/nodes/h-1=``.
"""

import urllib.parse

import attrs


NOTE = "~note"
"""Name of a file in the directory of a job that is no key, nor could be one."""

_FILE = "="
_EMPTY = "~"
_RELATIVE = "~~"  # the directory of keys that don't begin with a slash


def _escape(name: str) -> str:
    if not name:
        return _EMPTY
    quoted = urllib.parse.quote(name, safe="").replace("~", "%7E")
    if name.startswith("_"):
        quoted = "%5F" + quoted[1:]
    elif name in {".", ".."}:
        quoted = "%2E" * len(name)
    return quoted.replace("%", "~")


def _unescape(name: str) -> str:
    return "" if name == _EMPTY else urllib.parse.unquote(name.replace("~", "%"))


def _without_slash(root: str) -> str:
    return root.rstrip("/")


@attrs.frozen
class Paths:
    """Maps keys to paths under one directory of etcd.

    Attributes:
        root: The directory, without a slash at its end.
    """

    root: str = attrs.field(converter=_without_slash)

    def of_key(self, key: str) -> str:
        """Return the path of the file that holds a key."""
        return f"{self._directory(key)}/{_escape(key.rpartition('/')[2])}{_FILE}"

    def of_prefix(self, prefix: str) -> str:
        """Return the deepest directory that holds all keys with a prefix."""
        return self._directory(prefix) if prefix else self.root

    def key(self, path: str) -> str | None:
        """Return the key that lies at a path, or `None` if none of ours can."""
        if not path.startswith(f"{self.root}/") or not path.endswith(_FILE):
            return None
        path = path.removeprefix(f"{self.root}/").removesuffix(_FILE)
        names = path.split("/")
        key = "/".join(_unescape(name) for name in names if name != _RELATIVE)
        return key if names[0] == _RELATIVE else f"/{key}"

    def _directory(self, key: str) -> str:
        *names, _ = key.split("/")
        parts = [_escape(name) for name in names]
        if names[:1] == [""]:
            parts = parts[1:]
        else:
            parts.insert(0, _RELATIVE)
        return "/".join([self.root, *parts])
