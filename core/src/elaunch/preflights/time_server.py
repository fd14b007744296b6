"""What a time server says of this node's clock: one question of NTP (RFC 5905)."""

import secrets
import socket
import struct
import time

import attrs


PORT = 123

_PACKET = struct.Struct("!BBbb II 4s 8s 8s 8s 8s")
_ASK = 0x23  # version 4, from a client
_SERVER_MODE = 4
_UNSYNCHRONISED = 3  # its leap indicator then
_LAST_STRATUM = 15
_SINCE_1900 = 2_208_988_800
_ERA = 1 << 32  # the seconds of a timestamp begin anew in 2036
_TRIES = 3  # a datagram may be lost
_MOST_STRANGERS = 8  # datagrams that answer no question of ours


class NoTime(Exception):
    """A time server has not told the time; says why, after its name."""


@attrs.frozen
class Comparison:
    """How this node's clock stands to true time.

    Attributes:
        offset: Seconds by which it is behind; below 0 if it is ahead.
        error: Seconds by which that may be wrong.
    """

    offset: float
    error: float


def ask(host: str, port: int, seconds: float) -> Comparison:
    """Compare this node's clock with a server's; blocks.

    Args:
        host: Name or address of the server.
        port: Its port.
        seconds: How long it has to answer, beside the time to resolve its name.

    Raises:
        NoTime: If it does not answer, or does not know the time itself.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        why = error.strerror or error
        raise NoTime(f"is a name that can't be resolved: {why}") from None
    problem = NoTime(f"has not answered within {seconds:.1f} s")
    tries = [each for each in found for _ in range(_TRIES)]
    for family, kind, protocol, _, address in tries:
        with socket.socket(family, kind, protocol) as connection:
            connection.settimeout(seconds / len(tries))
            try:
                connection.connect(address)
                return _compare(connection)
            except TimeoutError:
                continue
            except OSError as error:
                problem = NoTime(f"can't be reached: {error.strerror or error}")
    raise problem


def _compare(connection: socket.socket) -> Comparison:
    # What a server sends back to tell that it answers this very question need not be a
    # time, and who sees it pass learns nothing then.
    mark = secrets.token_bytes(8)
    asked, began = time.time(), time.monotonic()
    connection.send(_PACKET.pack(_ASK, 0, 0, 0, 0, 0, b"", b"", b"", b"", mark))
    for _ in range(_MOST_STRANGERS):
        data = connection.recv(1024)
        took = time.monotonic() - began
        if len(data) >= _PACKET.size and data[24:32] == mark:
            return _read(data, asked, took)
    raise NoTime("answers something else than it was asked")


def _read(data: bytes, asked: float, took: float) -> Comparison:
    flags, stratum, _, __, delay, dispersion, reference, *times = _PACKET.unpack(
        data[: _PACKET.size]
    )
    if flags & 7 != _SERVER_MODE:
        raise NoTime("answers, but not as a time server")
    if stratum == 0:
        code = reference.decode("ascii", "replace")
        raise NoTime(f"refuses to tell the time ({code!r})")
    if flags >> 6 == _UNSYNCHRONISED or stratum > _LAST_STRATUM:
        raise NoTime("does not know the time itself")
    received, sent = (_unix(each, asked) for each in times[2:])
    away = max(took - (sent - received), 0.0)
    return Comparison(
        offset=((received - asked) + (sent - (asked + took))) / 2,
        error=(away + _short(delay)) / 2 + _short(dispersion),
    )


def _unix(timestamp: bytes, near: float) -> float:
    """Return a timestamp in Unix seconds, of the era in which it is nearest to now."""
    seconds, fraction = struct.unpack("!II", timestamp)
    value = seconds + fraction / _ERA - _SINCE_1900
    return float(value + round((near - value) / _ERA) * _ERA)


def _short(value: int) -> float:
    """Return the seconds that a short of NTP means."""
    return value / (1 << 16)
