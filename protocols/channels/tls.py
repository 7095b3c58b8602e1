"""TLS contexts: as a listener offers it, and as a client of a broker demands it."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from protocols.dial_in.callers import Certificate


def server_tls(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """TLS as a listener offers it.

    With `client_ca`, only to terminals with a certificate of that authority. OSError (ssl.SSLError
    is one) when the files cannot be used.
    """
    _refuse_irregular(certificate, key, client_ca)
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
    _refuse_irregular(ca, certificate, key)
    context = ssl.create_default_context(cafile=str(ca))
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    return context


def _refuse_irregular(*paths: Path | None) -> None:
    """A device or a pipe would be read without an end, or waited for."""
    for path in paths:
        if path is not None and path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is no file", str(path))


def shown_certificate(transport: asyncio.BaseTransport) -> Certificate | None:
    """What the far end showed and proved to have the key of; None where nobody asked for it."""
    tls = transport.get_extra_info("ssl_object")
    shown = None if tls is None else tls.getpeercert(binary_form=True)
    if not shown or tls.context.verify_mode is not ssl.CERT_REQUIRED:
        return None
    return Certificate(sha256(shown).hexdigest(), frozenset(_names(tls.getpeercert())))


def _names(certificate: dict[str, Any]) -> Iterator[str]:
    for relative_name in certificate.get("subject", ()):
        yield from (value for key, value in relative_name if key == "commonName")
    # A DNS name, an URI, an e-mail address: any of them may carry the id of a terminal.
    yield from (value for _, value in certificate.get("subjectAltName", ()) if type(value) is str)
