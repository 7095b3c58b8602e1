"""Who may speak for a terminal: what a caller shows of itself, and what is asked of it. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from protocols.peer import Proof

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a caller showed in its TLS handshake, signed by the authority that the listener trusts.

    `fingerprint`: its SHA-256 in 64 hexadecimal digits. `names`: its common name and its
    alternative names."""

    fingerprint: str
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class PermittedCallers:
    """What a caller that says a terminal's id must show.

    `networks`: one of them holds its address; empty: any address. `fingerprint`: of its
    certificate; empty: the certificate names the terminal. Without a certificate, which only a
    listener with an authority asks for, neither counts. `is_vouched`: the site says by name that
    plain text is enough."""

    networks: tuple[Network, ...] = ()
    fingerprint: str = ""
    is_vouched: bool = False

    def obstacle(
        self, spellings: Iterable[str], address: str, certificate: Certificate | None
    ) -> str:
        """Why this caller may not speak for the terminal; empty when it may.

        `spellings`: how the terminal's id may stand in a certificate."""
        if self.networks and not is_within(self.networks, address):
            return f"{address} is in none of its permitted networks"
        if certificate is None:
            return ""
        if self.fingerprint:
            if certificate.fingerprint == self.fingerprint:
                return ""
            return f"its certificate has the fingerprint {certificate.fingerprint}"
        if certificate.names.isdisjoint(spellings):
            named = ", ".join(sorted(certificate.names)) or "nobody"
            return f"its certificate is for {named}"
        return ""

    def proof(self, certificate: Certificate | None) -> Proof:
        """What a caller without an obstacle has shown."""
        if certificate is not None:
            return Proof.CERTIFICATE
        if self.is_vouched:
            return Proof.VOUCHED
        return Proof.NETWORK if self.networks else Proof.NONE


ANYONE: Final = PermittedCallers()
"""Whoever says the id."""


def is_within(networks: Iterable[Network], address: str) -> bool:
    """Whether one of the networks holds the address."""
    # The zone of a link-local address is no part of it.
    found = ip_address(address.partition("%")[0])
    return any(found.version == network.version and found in network for network in networks)
