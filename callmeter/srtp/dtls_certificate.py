"""The certificate an endpoint shows in DTLS-SRTP handshakes (RFC 5763 section 5).

Nobody has to trust who issued it: its fingerprint travels in the session description, and that
is what the peer compares.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL

from callmeter import certificates
from callmeter.errors import ConfigurationError, LocalProtocolError
from callmeter.sdp.attributes import Fingerprint
from callmeter.srtp.protection_profiles import for_suite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from callmeter.config import DtlsConfig, SrtpSuite

__all__ = ["DtlsCertificate", "KeyLog", "fingerprint_of"]

KeyLog: TypeAlias = "Callable[[bytes], None]"

LIFETIME: Final = timedelta(days=30)
_CLOCK_SKEW: Final = timedelta(days=1)
"""A peer whose clock is late may look at the dates, although it need not."""

_DTLS_1_2: Final = 0xFEFD
_CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL:!eNULL"
"""GCM first; CBC for peers that know no other (RFC 5764 itself asks for AES128-CBC)."""
_OPTIONS: Final = (
    SSL.OP_NO_TICKET
    | SSL.OP_NO_COMPRESSION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    # OpenSSL asks nobody for the MTU, and does not lower what it was told.
    | SSL.OP_NO_QUERY_MTU
)

_ALLOW_CLIENT_RENEGOTIATION: Final = 1 << 8
_NO_RESUMPTION_ON_RENEGOTIATION: Final = 1 << 16
"""Options of OpenSSL that pyOpenSSL has no names for."""
_RENEGOTIATION: Final = {
    False: SSL.OP_NO_RENEGOTIATION,
    # A handshake that resumes shows no certificate that could be checked.
    True: _ALLOW_CLIENT_RENEGOTIATION | _NO_RESUMPTION_ON_RENEGOTIATION,
}

_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha-224": hashes.SHA224(),
    "sha-256": hashes.SHA256(),
    "sha-384": hashes.SHA384(),
    "sha-512": hashes.SHA512(),
}


class DtlsCertificate:
    """A certificate, its key, and the settings of every handshake made with them.

    One serves any number of calls, as client and as server: its OpenSSL contexts are shared.
    """

    __slots__ = ("_certificate", "_contexts", "_private_key")

    def __init__(
        self,
        certificate: x509.Certificate,
        private_key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    ) -> None:
        self._certificate = certificate
        self._private_key = private_key
        self._contexts: dict[tuple[tuple[SrtpSuite, ...], bool, bool], SSL.Context] = {}

    @classmethod
    def generate(
        cls, now: datetime, *, lifetime: timedelta = LIFETIME, common_name: str = "callmeter"
    ) -> Self:
        """Make a P-256 key and a certificate signed with it.

        Args:
            now: Wall clock, with its time zone.
            lifetime: How long the certificate is valid.
            common_name: Its subject and issuer; peers see it.
        """
        private_key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + lifetime)
            .sign(private_key, hashes.SHA256())
        )
        return cls(certificate, private_key)

    @classmethod
    def of(cls, config: DtlsConfig, now: datetime) -> Self:
        """The certificate of these settings, or one made for them.

        Args:
            config: Its PEM content, or how long one is valid that is made.
            now: Wall clock, with its time zone.

        Raises:
            ConfigurationError: The certificate has expired, or its key is of another kind.
        """
        if config.certificate is None or config.private_key is None:
            return cls.generate(now, lifetime=timedelta(days=config.certificate_days))
        return cls.from_pem(config.certificate, config.private_key)

    @classmethod
    def from_pem(cls, certificate: str, private_key: str) -> Self:
        """Take a certificate of one's own.

        Args:
            certificate: PEM content; of a chain the first is taken.
            private_key: PEM content, not encrypted.

        Raises:
            ConfigurationError: One cannot be parsed, they do not fit together, the certificate
                has expired, or the key is neither ECDSA nor RSA.
        """
        certificates.check_own_certificate(certificate, private_key)
        key = certificates.load_private_key(private_key, "private_key")
        own = certificates.load_certificates(certificate, "certificate")[0]
        if not isinstance(key, _USABLE_KEYS):
            raise ConfigurationError("private_key is neither ECDSA nor RSA, as DTLS 1.2 wants it")
        return cls(own, key)

    def __repr__(self) -> str:
        return f"<DtlsCertificate {self.fingerprint()}>"

    @property
    def not_valid_after(self) -> datetime:
        """When it expires, UTC."""
        return self._certificate.not_valid_after_utc

    def fingerprint(self, algorithm: str = "sha-256") -> Fingerprint:
        """What to write into a=fingerprint (RFC 8122 section 5).

        Args:
            algorithm: `"sha-224"`, `"sha-256"`, `"sha-384"` or `"sha-512"`.

        Raises:
            LocalProtocolError: It is another.
        """
        found = fingerprint_of(self._certificate, algorithm)
        if found is None:
            raise LocalProtocolError(f"no fingerprint is made with {algorithm}: use sha-256")
        return found

    def connection(
        self,
        suites: Sequence[SrtpSuite],
        *,
        client: bool,
        mtu: int,
        renegotiation: bool = False,
        key_log: KeyLog | None = None,
    ) -> SSL.Connection:
        """A new handshake over memory buffers, not yet started.

        Args:
            suites: SRTP suites in order of preference.
            client: Whether it sends the ClientHello.
            mtu: Octets of UDP payload that a datagram may have.
            renegotiation: Whether the peer may renegotiate; it is told no_renegotiation otherwise.
            key_log: Is given the secrets of the handshake, in lines of SSLKEYLOGFILE.

        Raises:
            LocalProtocolError: None of the suites has a number in use_srtp.
        """
        context = self._context(
            tuple(suites), logged=key_log is not None, renegotiation=renegotiation
        )
        connection = SSL.Connection(context)
        connection.set_app_data(key_log)
        connection.set_ciphertext_mtu(mtu)
        if client:
            connection.set_connect_state()
        else:
            connection.set_accept_state()
        return connection

    def _context(
        self, suites: tuple[SrtpSuite, ...], *, logged: bool, renegotiation: bool
    ) -> SSL.Context:
        settings = suites, logged, renegotiation
        context = self._contexts.get(settings)
        if context is None:
            context = self._contexts[settings] = self._new_context(suites)
            context.set_options(_RENEGOTIATION[renegotiation])
            if logged:
                context.set_keylog_callback(_log_key)
        return context

    def _new_context(self, suites: tuple[SrtpSuite, ...]) -> SSL.Context:
        names = [name for suite in suites if (name := for_suite(suite).openssl_name)]
        if not names:
            raise LocalProtocolError("none of the SRTP suites can be agreed on by DTLS")
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_min_proto_version(_DTLS_1_2)
        context.set_max_proto_version(_DTLS_1_2)
        context.set_options(_OPTIONS)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_cipher_list(_CIPHERS)
        context.set_tlsext_use_srtp(":".join(names).encode())
        context.use_certificate(self._certificate)
        context.use_privatekey(self._private_key)
        # The fingerprint decides, after the handshake; but without a certificate it cannot.
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _accept_any)
        return context


_USABLE_KEYS: Final = (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)


def fingerprint_of(certificate: x509.Certificate, algorithm: str) -> Fingerprint | None:
    """The fingerprint of any certificate, None when the hash is none of the SHA-2 family."""
    chosen = _HASHES.get(algorithm)
    if chosen is None:
        return None
    return Fingerprint(algorithm, certificate.fingerprint(chosen).hex(":").upper())


def _log_key(connection: SSL.Connection, line: bytes) -> None:
    connection.get_app_data()(line)


def _accept_any(*_arguments: object) -> bool:
    return True
