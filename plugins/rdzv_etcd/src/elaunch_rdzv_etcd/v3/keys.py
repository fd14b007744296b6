"""Keys as they lie in etcd: flat, in a range of their own.

The key ``/job/nodes/h-1`` lies at ``/elaunch/job/nodes/h-1``. What does not begin with
a slash, or would look like that here, goes behind a ``~``, so that no key of any text
can leave the range or meet another one.
"""

import attrs


_MARK = "~"


def _without_slash(root: str) -> str:
    return root.rstrip("/")


@attrs.frozen
class Keys:
    """Maps keys to those of etcd under one root.

    Attributes:
        root: The root, without a slash at its end.
    """

    root: str = attrs.field(converter=_without_slash)

    def of_key(self, key: str) -> bytes:
        """Return where a key lies."""
        plain = key.startswith("/") and not key.startswith(f"/{_MARK}")
        place = key if plain else f"/{_MARK}{key}"
        return f"{self.root}{place}".encode()

    def range_of(self, prefix: str) -> tuple[bytes, bytes]:
        """Return start and end of a range that holds all keys with a prefix."""
        # What has these beginnings lies in two places.
        start = f"{self.root}/".encode() if prefix in {"", "/"} else self.of_key(prefix)
        return start, after(start)

    def key(self, place: bytes) -> str | None:
        """Return the key that lies somewhere, or `None` if none of ours can."""
        try:
            text = place.decode()
        except UnicodeDecodeError:
            return None
        if not text.startswith(f"{self.root}/"):
            return None
        key = text.removeprefix(self.root)
        return key.removeprefix(f"/{_MARK}")


def after(prefix: bytes) -> bytes:
    """Return the first key that is behind all with a prefix."""
    # UTF-8 has no byte of 255, and no prefix is empty: it begins with a slash.
    return prefix[:-1] + bytes([prefix[-1] + 1])
