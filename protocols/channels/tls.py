"""TLS contexts: as a listener offers it, and as a client of a broker demands it."""

from __future__ import annotations

import ssl
from pathlib import Path


def server_tls(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """TLS as a listener offers it.

    With `client_ca`, only to terminals with a certificate of that authority. OSError (ssl.SSLError
    is one) when the files cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        # The default of a server asks for no certificate.
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_tls(ca: Path, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """TLS with a server whose certificate `ca` signed.

    `certificate` and `key` are ours, where the server asks for one. OSError likewise.
    """
    context = ssl.create_default_context(cafile=str(ca))
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context
