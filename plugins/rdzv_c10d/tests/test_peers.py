"""Who may connect to the workers' store, by connections from a real address."""

import asyncio
import logging
import socket
from collections.abc import Collection

import attrs
import psutil
import pytest

from elaunch.api import BootstrapParameters
from elaunch_rdzv_c10d.addresses import listen, resolve
from elaunch_rdzv_c10d.bootstrap import C10dBootstrap
from elaunch_rdzv_c10d.options import BootstrapOptions
from elaunch_rdzv_c10d.peers import MembersOnly
from elaunch_rdzv_c10d.server import StoreServer
from elaunch_rdzv_c10d.wire import hello


pytestmark = pytest.mark.asyncio

STRANGER = "203.0.113.9"
BY_DEFAULT = BootstrapOptions()
NONCE = 0x04030201
PONG = b"\x01\x02\x03\x04"


def own_address(family: socket.AddressFamily) -> str:
    """Return an address of this machine that is not its loopback."""
    for addresses in psutil.net_if_addrs().values():
        for own in addresses:
            inner = own.address == "::1" or own.address.startswith(("127.", "fe80"))
            if own.family is family and not inner:
                return str(own.address)
    pytest.skip(f"this machine has no address of {family.name} but its loopback")


async def answer(host: str, port: int) -> bytes:
    """Return what a store answers to who greets it; nothing if it refuses."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(hello(NONCE))
    try:
        async with asyncio.timeout(10):
            return await reader.read(len(PONG))
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@attrs.frozen
class Place:
    """An own address at which stores are opened."""

    address: str

    async def answer(
        self, peers: Collection[str], options: BootstrapOptions = BY_DEFAULT
    ) -> bytes:
        """Return what a store for these peers answers to who comes from the address."""
        params = BootstrapParameters("job", self.address)
        bootstrap = C10dBootstrap(params, options)
        info = await bootstrap.open(3, peers)
        try:
            return await answer(self.address, int(info["port"]))
        finally:
            await bootstrap.close()


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def place(request: pytest.FixtureRequest) -> Place:
    return Place(own_address(request.param))


async def test_members_are_served_and_strangers_are_not(place: Place) -> None:
    assert await place.answer({STRANGER, place.address}) == PONG
    assert await place.answer({STRANGER}) == b""


async def test_peers_any_serves_all(place: Place) -> None:
    assert await place.answer({STRANGER}, BootstrapOptions(peers="any")) == PONG


async def test_the_loopback_is_always_served() -> None:
    assert await Place("127.0.0.2").answer({STRANGER}) == PONG


async def test_a_name_stands_for_its_addresses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = {"localhost", "no-such-host.invalid", "x" * 64}
    members = await MembersOnly.of(1, names)

    assert any(address.is_loopback for address in members.addresses)
    assert "names that members advertise have no address here: 2" in caplog.text
    assert "'no-such-host.invalid'" in caplog.text


@pytest.mark.parametrize(
    ("member", "peer"),
    [
        ("10.0.0.1", "::ffff:10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1", "fe80::1%eth0"),
        ("fe80::1%3", "fe80::1%eth0"),
        ("2001:DB8:0::1", "2001:db8::1"),
    ],
)
async def test_one_address_has_many_spellings(member: str, peer: str) -> None:
    members = await MembersOnly.of(1, {member})

    assert members.admits(peer)
    assert not members.admits(STRANGER)


async def test_a_refusal_is_told_once_and_says_what_helps(
    caplog: pytest.LogCaptureFixture,
) -> None:
    members = await MembersOnly.of(7, {"10.0.0.1"})
    for _ in range(3):
        members.admits(STRANGER)

    assert len(caplog.records) == 1
    assert STRANGER in caplog.text
    assert "generation 7" in caplog.text
    assert "peers=any" in caplog.text


async def test_a_scan_fills_neither_memory_nor_logs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    members = await MembersOnly.of(7, {"10.0.0.1"})
    caplog.set_level(logging.INFO)
    for number in range(5000):
        assert not members.admits(f"10.1.{number // 250}.{number % 250}")

    assert len(caplog.records) <= 64
    assert len(members._refused) <= 64
    assert "no more are named" in caplog.records[-1].message


async def test_who_is_refused_is_not_read_and_leaves_nothing() -> None:
    asked: list[str] = []

    def admits(host: str) -> bool:
        asked.append(host)
        return False

    server = StoreServer(admits=admits)
    listeners = listen(await resolve("127.0.0.1", 0))
    await server.start(listeners)
    port = listeners[0].getsockname()[1]
    answers = await asyncio.gather(*(answer("127.0.0.1", port) for _ in range(200)))
    # All are gone before the server is told to end them.
    while server.door._callers:
        server.door._departure.clear()
        await server.door._departure.wait()

    assert set(answers) == {b""}
    assert asked == ["127.0.0.1"] * 200
    assert len(server.table) == 0
    await server.stop()
