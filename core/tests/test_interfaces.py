import ipaddress

from elaunch.interfaces import interface_addresses


def test_they_are_addresses_that_others_can_see() -> None:
    for text in interface_addresses():
        address = ipaddress.ip_address(text)

        assert not address.is_loopback
        assert not address.is_link_local
