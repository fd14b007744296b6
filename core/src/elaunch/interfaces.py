"""From which addresses this node reaches others."""

import ipaddress
import logging
import socket


logger = logging.getLogger(__name__)


def interface_addresses() -> tuple[str, ...]:
    """Return the addresses of this node from which it can reach other nodes.

    The system may choose any of them for a connection, whatever address is advertised.
    Where the system does not tell, as in a sandbox, there are none.
    """
    import psutil

    try:
        interfaces = psutil.net_if_addrs()
    except OSError as error:
        logger.warning("this node's addresses can't be found out: %s", error)
        return ()
    found = {
        address.address
        for addresses in interfaces.values()
        for address in addresses
        if address.family in {socket.AF_INET, socket.AF_INET6}
    }
    return tuple(sorted(address for address in found if _leads_out(address)))


def _leads_out(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return not (address.is_loopback or address.is_link_local)
