"""What a client's requests carry: encoded, and checked before a byte is sent.

A server can only close the connection over what is too large, and torch's own client
then reports it with the next operation, as a lost server.
"""

from collections.abc import Iterable, Mapping

from elaunch_rdzv_c10d.wire import (
    I64,
    MAX_KEY,
    MAX_KEYS,
    MAX_VALUE,
    U64,
    blob,
    blobs,
    counted,
)


_PREFIX = b"/"  # as torch's client: what follows is the key that a user sees
_FOREIGN = "surrogateescape"  # other clients may write keys that are no UTF-8
_INT64 = range(-(1 << 63), 1 << 63)


def key_blob(key: str) -> bytes:
    """Return a key as a request carries it."""
    return blob(_encoded(key))


def key_list(keys: Iterable[str]) -> bytes:
    """Return several keys as a request carries them."""
    encoded = [_encoded(key) for key in keys]
    _check_count(len(encoded))
    return counted(encoded)


def value_blob(value: bytes | str) -> bytes:
    """Return a value as a request carries it."""
    return blob(_checked(value))


def pair_list(items: Mapping[str, bytes | str]) -> bytes:
    """Return keys and their values as a request carries them."""
    _check_count(len(items))
    pairs = [part for k, v in items.items() for part in (_encoded(k), _checked(v))]
    return U64.pack(len(items)) + blobs(pairs)


def number(amount: int) -> bytes:
    """Return a number as a request carries it."""
    if amount not in _INT64:
        raise ValueError(f"{amount} does not fit in 64 bits")
    return I64.pack(amount)


def visible(keys: Iterable[bytes]) -> list[str]:
    """Return those keys of a store that a client can name, as it names them."""
    start = len(_PREFIX)
    return [k[start:].decode(errors=_FOREIGN) for k in keys if k.startswith(_PREFIX)]


def _encoded(key: str) -> bytes:
    encoded = _PREFIX + key.encode(errors=_FOREIGN)
    if len(encoded) > MAX_KEY:
        raise ValueError(f"a key of {len(encoded)} bytes; the limit is {MAX_KEY}")
    return encoded


def _checked(value: bytes | str) -> bytes:
    encoded = value.encode() if isinstance(value, str) else value
    if len(encoded) > MAX_VALUE:
        raise ValueError(f"a value of {len(encoded)} bytes; the limit is {MAX_VALUE}")
    return encoded


def _check_count(count: int) -> None:
    if count > MAX_KEYS:
        raise ValueError(f"{count} keys at once; the limit is {MAX_KEYS}")
