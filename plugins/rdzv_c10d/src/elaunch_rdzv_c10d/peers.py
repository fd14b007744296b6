"""Who may connect to the workers' store of a generation: its members, and this host."""

import asyncio
import ipaddress
import logging
from collections.abc import Collection

import attrs

from elaunch_rdzv_c10d.addresses import IpAddress, ways_to


logger = logging.getLogger(__name__)

RESOLVE_TIMEOUT = 5.0
"""Seconds to find the addresses of members that advertise names."""

_NAMED = 32  # refused addresses that are named: a scan must not fill memory or logs


@attrs.define(eq=False, repr=False)
class MembersOnly:
    """Tells members from strangers by the address that they come from.

    Attributes:
        generation: Number of the generation, for messages.
        addresses: From where its members come.
    """

    generation: int
    addresses: frozenset[IpAddress]
    _refused: set[str] = attrs.field(factory=set, init=False)

    @classmethod
    async def of(cls, generation: int, hosts: Collection[str]) -> "MembersOnly":
        """Return what admits these addresses, and those that the names among them have.

        A name that has none in time only counts as unknown: its node most likely comes
        from an address that it has told, too.
        """
        return cls(generation, await _addresses_of(hosts))

    def admits(self, host: str) -> bool:
        """Whether a connection from this address is a member's; if not, say so once."""
        address = _address(host)
        if address in self.addresses or address.is_loopback:
            return True
        self._tell(host)
        return False

    def _tell(self, host: str) -> None:
        if host in self._refused or len(self._refused) > _NAMED:
            return
        self._refused.add(host)
        if len(self._refused) > _NAMED:
            logger.warning(
                "more than %d addresses were refused by the store of the workers of "
                "generation %d: no more are named",
                _NAMED,
                self.generation,
            )
            return
        logger.warning(
            "refused a connection from %s to the store of the workers of generation "
            "%d: it is no address of a member; if it should be, "
            "--bootstrap c10d:peers=any admits all",
            host,
            self.generation,
        )


def _address(text: str) -> IpAddress:
    """Return an address without its scope, and as IPv4 if it is that in IPv6's dress.

    Raises:
        ValueError: If the text is a name.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


async def _addresses_of(hosts: Collection[str]) -> frozenset[IpAddress]:
    found: set[IpAddress] = set()
    names: set[str] = set()
    for host in hosts:
        try:
            found.add(_address(host))
        except ValueError:
            names.add(host)
    if not names:
        return frozenset(found)
    lookups = {asyncio.create_task(_resolve(name)): name for name in names}
    try:
        done, late = await asyncio.wait(lookups, timeout=RESOLVE_TIMEOUT)
    finally:
        for lookup in lookups:
            lookup.cancel()  # those that are late, or all if nobody waits any more
    failed = [lookups[lookup] for lookup in late]
    for lookup in done:
        try:
            found |= lookup.result()
        except OSError:
            failed.append(lookups[lookup])
    if failed:
        first = min(failed)
        logger.warning(
            "names that members advertise have no address here: %d, %r for one",
            len(failed),
            first,
        )
    return frozenset(found)


async def _resolve(name: str) -> set[IpAddress]:
    return {_address(way) for way in await ways_to(name, 0)}
