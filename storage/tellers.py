"""Who told readings: the far ends of lines, and what they had shown of themselves."""

from __future__ import annotations

from collections.abc import Sequence

from protocols.peer import Peer
from storage.sql import Connection, fetch_rows, load

SQL = load("tellers")


async def number(connection: Connection, tellers: Sequence[tuple[str, Peer]]) -> list[int]:
    """Their numbers, in order; (line, who was at its far end), each once.

    Those that are not known are known from now on."""
    peers = [peer for _, peer in tellers]
    values = {
        "lines": [line for line, _ in tellers],
        "addresses": [peer.address for peer in peers],
        "terminals": [peer.terminal for peer in peers],
        "certificates": [peer.certificate for peer in peers],
        "identities": [peer.identity for peer in peers],
        "sessions": [peer.session_at for peer in peers],
        "proofs": [int(peer.proof) for peer in peers],
    }
    return [found for (found,) in await fetch_rows(connection, SQL["number"], values)]
