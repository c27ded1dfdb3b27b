"""Which addresses and names belong to the public internet, and what a deployer says about them.

The networks are those that IANA lists as not globally reachable, and a few that it does not know of:
https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry.
They are written out, for what ``ipaddress`` says of them depends on the release of Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NOT_PUBLIC_4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by the customers of a provider; the metadata of some clouds
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own services, at an address that looks public
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; the metadata of Oracle's cloud
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4: goes on to an IPv4 address
        "3fff::/20",
    )
)
_TRANSLATED = IPv6Network("64:ff9b::/96")
"""What a NAT64 gateway turns into IPv4: how an IPv6-only host reaches the rest (RFC 6052)."""
_ISATAP = 0x5EFE
"""In front of an IPv4 address, whether it is unique (the bit below) or not (RFC 5214)."""
_UNIQUE = 0x02000000
_LOCAL_NAMES = ("localhost", "local", "internal", "localdomain", "home.arpa", "lan", "intranet", "corp", "home")
"""Last labels of names that mean something in a local network only; clouds have their metadata below ``internal``."""


def reached(address: Address) -> Address:
    """The address that a packet to this one ends at: IPv4 in the forms of IPv6 that systems and gateways translate."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _TRANSLATED:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether it is somebody's in the public internet. Forms that embed an IPv4 address are judged by that, or not."""
    address = reached(address)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address not in _PUBLIC_6 or any(address in network for network in _NOT_PUBLIC_6):
        return False
    if int(address) >> 32 & 0xFFFFFFFF & ~_UNIQUE == _ISATAP:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return True


def is_local_name(name: str) -> bool:
    """Whether a name, in lower case and without a final dot, is one for local networks: all without a dot are."""
    return "." not in name or any(name.endswith("." + local) for local in _LOCAL_NAMES)


@dataclass(frozen=True, slots=True)
class Places:
    """Networks and names; a name that begins with ``*.`` stands for all below it."""

    networks: tuple[Network, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str]) -> Places:
        """Raises ValueError for an entry that is neither."""
        networks: list[Network] = []
        names: set[str] = set()
        for entry in entries:
            try:
                networks.append(ip_network(entry, strict=False))
            except ValueError:
                names.add(_name(entry))
        return cls(tuple(networks), frozenset(names))

    def has_name(self, name: str) -> bool:
        parents = name.split(".")[1:]
        return name in self.names or any("*." + ".".join(parents[at:]) in self.names for at in range(len(parents)))

    def has(self, address: Address) -> bool:
        return any(a in network for a in {address, reached(address)} for network in self.networks)


def _name(entry: str) -> str:
    name = entry.lower().removesuffix(".")
    rest = name.removeprefix("*.")
    if not rest.isascii() or not all(label.replace("-", "").replace("_", "").isalnum() for label in rest.split(".")):
        raise ValueError("neither a network nor a name")
    return name


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be connected to: ``deny`` goes before ``allow``, and that before what is public."""

    allow: Places
    deny: Places

    def permit_name(self, name: str) -> bool:
        """Whether to look the name up at all, which is in lower case and without a final dot."""
        if self.deny.has_name(name):
            return False
        return self.allow.has_name(name) or not is_local_name(name)

    def permit(self, address: Address, name: str | None) -> bool:
        """Whether to connect to this address, which was found under this name, if it was."""
        if self.deny.has(address):
            return False
        if (name is not None and self.allow.has_name(name)) or self.allow.has(address):
            return True
        return is_public(address)


def rules_of(allow: Sequence[str], deny: Sequence[str]) -> Rules:
    return Rules(Places.of(allow), Places.of(deny))
