"""TLS settings made ready: the contexts that all connections of one account share."""

from __future__ import annotations

import secrets
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from callmeter.certificates import (
    check_authorities,
    check_own_certificate,
    load_certificates,
    load_private_key,
)
from callmeter.config import ClientCertificates, TlsVerify
from callmeter.errors import ConfigurationError

if TYPE_CHECKING:
    from callmeter.config import TlsConfig

__all__ = ["TlsSettings"]

CIPHERS: Final = (
    "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
)
"""Forward secrecy only (RFC 9325 section 4.2), keys and signatures of 112 bits or more."""
MAX_SESSIONS: Final = 512
"""TLS 1.2 sessions a server context may keep; `ssl` cannot turn its cache off."""
SKIPPED: Final = "server certificates are not verified (TlsVerify.SKIP)"
CLIENT_VERIFY: Final = {
    ClientCertificates.IGNORED: ssl.CERT_NONE,
    ClientCertificates.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientCertificates.REQUIRED: ssl.CERT_REQUIRED,
}


class TlsSettings:
    """One `TlsConfig`, made ready for many connections.

    Attributes:
        config: Where it came from.
        client: The context of connections to servers.
        warnings: What is not as it should be, in words.
    """

    __slots__ = ("_server", "client", "config", "warnings")

    def __init__(self, config: TlsConfig, warnings: tuple[str, ...]) -> None:
        self.config = config
        self.warnings = warnings
        self.client = _client_context(config)
        self._server: ssl.SSLContext | None = None

    @classmethod
    def of(cls, config: TlsConfig) -> TlsSettings:
        """Check a configuration again, since certificates age, and build from it.

        Reads the system's trust store under `TlsVerify.SYSTEM`, which takes some milliseconds.

        Raises:
            ConfigurationError: What it holds can no longer be used.
        """
        warnings: tuple[str, ...] = ()
        if config.verify is TlsVerify.SKIP:
            warnings += (SKIPPED,)
        if config.ca is not None:
            warnings += check_authorities(config.ca)
        if config.certificate is not None and config.private_key is not None:
            warnings += check_own_certificate(config.certificate, config.private_key, config.ca)
        return cls(config, warnings)

    @property
    def server(self) -> ssl.SSLContext:
        """The context of connections that peers open.

        Raises:
            ConfigurationError: A server needs a certificate, and there is none.
        """
        context = self._server
        if context is None or context.session_stats()["number"] > MAX_SESSIONS:
            context = self._server = _server_context(self.config)
        return context


def _client_context(config: TlsConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    # `ssl` knows neither sip: URIs nor what to say about a mismatch: see `identity`.
    context.check_hostname = False
    if config.verify is TlsVerify.SYSTEM:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    elif config.verify is TlsVerify.CUSTOM:
        _trust(context, config)
    else:
        context.verify_mode = ssl.CERT_NONE
    if config.certificate is not None:
        _load_own_certificate(context, config)
    return context


def _server_context(config: TlsConfig) -> ssl.SSLContext:
    if config.certificate is None:
        raise ConfigurationError("a TLS server needs a certificate and a private_key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.num_tickets = 0
    context.verify_mode = CLIENT_VERIFY[config.client_certificates]
    if config.client_certificates is not ClientCertificates.IGNORED:
        _trust(context, config)
    _load_own_certificate(context, config)
    return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET


def _trust(context: ssl.SSLContext, config: TlsConfig) -> None:
    """Trust the given authorities and nobody else; each of them, root or not."""
    found = load_certificates(config.ca or "", "ca")
    context.load_verify_locations(cadata=b"".join(one.public_bytes(Encoding.DER) for one in found))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _load_own_certificate(context: ssl.SSLContext, config: TlsConfig) -> None:
    """`ssl` reads a key from a file only: it gets an encrypted one, gone at once.

    Raises:
        ConfigurationError: OpenSSL refuses the pair, or there is no place for the file.
    """
    password = secrets.token_hex()
    key = load_private_key(config.private_key or "", "private_key").private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode())
    )
    chain = load_certificates(config.certificate or "", "certificate")
    content = key + b"".join(one.public_bytes(Encoding.PEM) for one in chain)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "own.pem"
            path.touch(mode=0o600, exist_ok=False)
            path.write_bytes(content)
            context.load_cert_chain(path, password=password)
    except ssl.SSLError as error:
        reason = (error.reason or "refused").replace("_", " ").lower()
        raise ConfigurationError(f"certificate cannot be used: {reason}") from None
    except OSError as error:
        raise ConfigurationError(
            f"no place for a temporary file: {error.strerror or error}"
        ) from None
