"""What it takes to believe a claim: how many operators of nodes must agree, at which block, and how much is proved.

A claim says what is so; a policy is its reader's own. Nothing that a claim holds can loosen one.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field

from delegation.models import Frozen

Tier: TypeAlias = Literal["T0", "T1", "T2", "T3"]


_LOOPBACK: Final = "127.0.0.1"


class Policy(Frozen):
    """What it takes to believe a claim.

    `at` is the block or slot whose state counts as now: `latest`, `safe`, `finalized` or a number. `quorum` is how many
    distinct operators of nodes must agree; None means more than half of those that are asked, so that a node which is
    silent is never taken for one that agrees. Below `least_tier` a result is UNDETERMINED. `trusted_blocks` are block
    hashes that were authenticated elsewhere. `active` asks for an approval that still stands.
    """

    at: str = "latest"
    quorum: int | None = Field(default=None, ge=1)
    least_tier: Tier = "T0"
    trusted_blocks: tuple[str, ...] = ()
    active: bool = False

    def needed(self, operators: Iterable[str]) -> int:
        """Return how many of the operators that are asked must agree."""
        return len(set(operators)) // 2 + 1 if self.quorum is None else self.quorum


def operator_of(url: str) -> str:
    """Return who operates a node, as far as its URL tells: the last two labels of its host's name, an IP address or a
    socket's path.

    Two services under one public suffix (`a.co.uk`, `b.co.uk`) count as one operator: too few is safe, because several
    URLs of one operator would otherwise make a quorum of their own.
    """
    try:
        host = urlsplit(url).hostname
    except ValueError:
        # An evidence file can hold any text in its place.
        return url
    if host is None:
        return url
    labels = host.lower().rstrip(".").split(".")
    # All names under `localhost` are this machine (RFC 6761 section 6.3), whichever of its two addresses they mean.
    if labels[-1] == "localhost":
        return _LOOPBACK
    return _address_of(".".join(labels)) or ".".join(labels[-2:])


def _address_of(host: str) -> str | None:
    """Return an IP address in its one spelling, None where a host is a name.

    Resolvers take `127.1`, `2130706433` and `0x7f.1` for 127.0.0.1 (inet_aton), and an IPv4 address mapped into IPv6
    (RFC 4291 section 2.5.5.2) is the same host.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            return str(ipaddress.IPv4Address(socket.inet_aton(host)))
        except (OSError, UnicodeError):
            return None
    if isinstance(address, ipaddress.IPv6Address):
        return _LOOPBACK if address.is_loopback else str(address.ipv4_mapped or address)
    return str(address)
