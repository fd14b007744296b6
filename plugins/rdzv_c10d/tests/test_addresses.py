import asyncio
import socket
from typing import ClassVar

import pytest

from elaunch.api import UsageError
from elaunch_rdzv_c10d.addresses import Address, Endpoint, for_others, listen, resolve


class TestEndpoints:
    @pytest.mark.parametrize(
        ("text", "endpoint"),
        [
            ("", Endpoint("127.0.0.1", 0)),
            ("localhost:0", Endpoint("127.0.0.1", 0)),
            ("localhost", Endpoint("localhost", 29400)),
            ("node-0.example:1234", Endpoint("node-0.example", 1234)),
            (" 10.0.0.1:0 ", Endpoint("10.0.0.1", 0)),
            ("node.example.:1", Endpoint("node.example.", 1)),
            ("[::1]", Endpoint("::1", 29400)),
            ("[fe80::1%eth0]:5", Endpoint("fe80::1%eth0", 5)),
        ],
    )
    def test_are_read(self, text: str, endpoint: Endpoint) -> None:
        assert Endpoint.parse(text) == endpoint

    @pytest.mark.parametrize(
        "text",
        [
            *(":1", "host:", "host:x", "host:65536", "host:-1", "a:1:2"),
            *("::1", "[::1", "[host]:1", "[a:b:c]:1"),
            *("a..b", "node." + "x" * 64 + ":1"),
        ],
    )
    def test_may_be_malformed(self, text: str) -> None:
        with pytest.raises(UsageError, match="is not an endpoint; write 'host'"):
            Endpoint.parse(text)

    def test_have_the_port_of_the_backend_if_they_name_none(self) -> None:
        assert Endpoint.parse("host", 29500) == Endpoint("host", 29500)
        assert Endpoint.parse("host:1", 29500) == Endpoint("host", 1)

    def test_are_shown_as_they_are_written(self) -> None:
        assert [str(Endpoint.parse(t)) for t in ("[::1]:5", "host:5")] == [
            "[::1]:5",
            "host:5",
        ]


class TestForOthers:
    """Where to listen so that other nodes get through."""

    FOUR, SIX = socket.AF_INET, socket.AF_INET6
    ALL: ClassVar = [(FOUR, ("0.0.0.0", 5)), (SIX, ("::", 5, 0, 0))]  # noqa: S104 - not bound

    @pytest.mark.parametrize(
        ("host", "address", "everywhere"),
        [
            ("node", "127.0.1.1", True),
            ("node.example", "::1", True),
            ("node", "10.0.0.1", False),
            ("127.0.1.1", "127.0.1.1", False),
            ("::1", "::1", False),
            ("localhost", "127.0.0.1", False),
            ("Localhost.localdomain", "127.0.0.1", False),
            ("ip6-loopback", "::1", False),
        ],
    )
    def test_it_is_everywhere_for_a_name_of_loopback(
        self, host: str, address: str, *, everywhere: bool
    ) -> None:
        at: Address = (
            (self.SIX, (address, 5, 0, 0))
            if ":" in address
            else (self.FOUR, (address, 5))
        )

        assert for_others(host, [at]) == (self.ALL if everywhere else [at])

    def test_one_address_that_others_reach_is_enough(self) -> None:
        both = [(self.FOUR, ("10.0.0.1", 5)), (self.FOUR, ("127.0.1.1", 5))]

        assert for_others("node", both) == both


@pytest.mark.asyncio
class TestListening:
    async def test_only_what_was_asked_for_is_bound(self, endpoint: Endpoint) -> None:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.2", endpoint.port)

    async def test_one_port_goes_for_all_addresses(self) -> None:
        addresses = [
            *await resolve("127.0.0.1", 0),
            *await resolve("192.0.2.1", 0),  # not ours
            *await resolve("127.0.0.2", 0),
        ]
        listeners = listen(addresses)
        names = [listener.getsockname() for listener in listeners]
        for listener in listeners:
            listener.close()

        assert [host for host, _ in names] == ["127.0.0.1", "127.0.0.2"]
        assert len({port for _, port in names}) == 1

    async def test_a_taken_address_closes_the_others(self) -> None:
        with socket.create_server(("127.0.0.2", 0)) as taken:
            port = taken.getsockname()[1]
            both = [
                *await resolve("127.0.0.1", port),
                *await resolve("127.0.0.2", port),
            ]

            with pytest.raises(OSError, match="in use"):
                listen(both)
            again = listen(both[:1])
            again[0].close()


@pytest.mark.asyncio
async def test_what_can_be_no_name_can_not_be_resolved() -> None:
    with pytest.raises(socket.gaierror, match="it is no name of a host"):
        await resolve("a..b", 0)
