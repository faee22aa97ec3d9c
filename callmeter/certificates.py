"""Checks of PEM content at load time: what cannot work is refused before anything is sent.

Everything here is about certificates of one's own and the authorities one trusts; what a peer
shows is judged in `callmeter.transport`.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from callmeter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "CertificateWarning",
    "PrivateKey",
    "check_authorities",
    "check_own_certificate",
    "load_certificates",
    "load_private_key",
]

EXPIRES_SOON: Final = timedelta(days=30)
RSA_BITS: Final = 2_048
"""The least that RFC 9325 section 4.5 asks for."""
MAX_CHAIN: Final = 16
MAX_PEM: Final = 4 * 1024 * 1024
"""Room for a whole system trust store, and not much more."""

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
)
PRIVATE_KEYS: Final = (
    rsa.RSAPrivateKey,
    ec.EllipticCurvePrivateKey,
    ed25519.Ed25519PrivateKey,
    ed448.Ed448PrivateKey,
)


class CertificateWarning(UserWarning):
    """A certificate works today, and will not for long."""


def _now() -> datetime:
    return datetime.now(UTC)


def load_certificates(pem: str, name: str) -> list[x509.Certificate]:
    """The certificates of PEM text, in its order.

    Args:
        pem: PEM content.
        name: What to call the text in messages.

    Raises:
        ConfigurationError: It holds none, cannot be parsed, or holds a private key.
    """
    if len(pem) > MAX_PEM:
        raise ConfigurationError(f"{name} is longer than {MAX_PEM} octets")
    if "PRIVATE KEY-----" in pem:
        # A certificate is public: it is shown in reprs, and sent to every peer.
        raise ConfigurationError(f"{name} holds a private key: give only certificates there")
    if "-----BEGIN CERTIFICATE-----" not in pem:
        raise ConfigurationError(
            f"{name} holds no PEM certificate: give the content of the file, not its path"
        )
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise ConfigurationError(f"{name} holds a certificate that cannot be parsed") from None


def load_private_key(pem: str, name: str) -> PrivateKey:
    """The private key of PEM text.

    Args:
        pem: PEM content.
        name: What to call the text in messages.

    Raises:
        ConfigurationError: It holds none, is encrypted, cannot be parsed, or is too weak.
    """
    if "PRIVATE KEY-----" not in pem:
        has_certificate = "-----BEGIN CERTIFICATE-----" in pem
        hint = "a certificate, and no key" if has_certificate else "no PEM private key"
        raise ConfigurationError(f"{name} holds {hint}")
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise ConfigurationError(
            f"{name} is encrypted and there is no password: give it decrypted"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        # The original may quote what it could not parse.
        raise ConfigurationError(f"{name} cannot be parsed") from None
    if not isinstance(key, PRIVATE_KEYS):
        raise ConfigurationError(f"{name} is of a kind that TLS does not use")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < RSA_BITS:
        raise ConfigurationError(
            f"{name} is an RSA key of {key.key_size} bits: {RSA_BITS} are the least"
        )
    return key


def check_authorities(pem: str, name: str = "ca") -> tuple[str, ...]:
    """Check certificates that are to be trusted.

    Args:
        pem: PEM content, one certificate or many.
        name: What to call the text in messages.

    Returns:
        Warnings, in words.

    Raises:
        ConfigurationError: It cannot be parsed, or every certificate in it has expired.
    """
    found = load_certificates(pem, name)
    now = _now()
    usable = [each for each in found if each.not_valid_after_utc > now]
    if not usable:
        raise ConfigurationError(f"{name}: certificate has expired ({_end(found[0])})")
    last = max(usable, key=lambda each: each.not_valid_after_utc)
    return _expiry_warnings(last, name, now)


def check_own_certificate(
    certificate: str,
    private_key: str,
    ca: str | None = None,
    names: tuple[str, str, str] = ("certificate", "private_key", "ca"),
) -> tuple[str, ...]:
    """Check the own certificate, its chain and its key.

    Args:
        certificate: PEM of the certificate, followed by those that issued it.
        private_key: PEM of its key.
        ca: PEM of the authorities it has to chain to; None does not ask for that.
        names: What to call the three texts in messages.

    Returns:
        Warnings, in words.

    Raises:
        ConfigurationError: Something cannot be parsed, has expired, does not fit together, or
            is in the wrong order.
    """
    chain = load_certificates(certificate, names[0])
    key = load_private_key(private_key, names[1])
    if len(chain) > MAX_CHAIN:
        raise ConfigurationError(f"{names[0]} holds more than {MAX_CHAIN} certificates")
    _check_key(chain, key, names)
    now = _now()
    own = chain[0]
    if own.not_valid_after_utc <= now:
        raise ConfigurationError(f"{names[0]}: certificate has expired ({_end(own)})")
    for issued, issuer in itertools.pairwise(chain):
        if not _issued_by(issued, issuer):
            raise ConfigurationError(
                f"{names[0]} is in the wrong order: each certificate is followed by its issuer"
            )
        if issuer.not_valid_after_utc <= now:
            raise ConfigurationError(f"{names[0]}: its issuer has expired ({_end(issuer)})")
    if ca is not None and not _chains_to(chain, load_certificates(ca, names[2])):
        raise ConfigurationError(
            f"{names[0]} does not chain to {names[2]}: add the authority that issued it there"
        )
    first = min(chain, key=lambda each: each.not_valid_after_utc)
    warnings = _expiry_warnings(first, names[0], now)
    if own.not_valid_before_utc > now:
        start = own.not_valid_before_utc.date().isoformat()
        warnings += (f"{names[0]} is not yet valid (from {start})",)
    return warnings


def _check_key(
    chain: Sequence[x509.Certificate], key: PrivateKey, names: tuple[str, str, str]
) -> None:
    own = _public(key.public_key().public_bytes)
    matching = [
        index for index, each in enumerate(chain) if _public(each.public_key().public_bytes) == own
    ]
    if not matching:
        raise ConfigurationError(f"{names[1]} does not match {names[0]}")
    if matching[0]:
        raise ConfigurationError(
            f"{names[0]} is in the wrong order: the certificate of {names[1]} comes first"
        )


def _public(public_bytes: Callable[[Encoding, PublicFormat], bytes]) -> bytes:
    return public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _issued_by(issued: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        issued.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _chains_to(chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate]) -> bool:
    """Whether one of `chain` is an authority, or was issued by one."""
    for each in chain:
        if each in authorities or any(_issued_by(each, one) for one in authorities):
            return True
    return False


def _expiry_warnings(certificate: x509.Certificate, name: str, now: datetime) -> tuple[str, ...]:
    left = certificate.not_valid_after_utc - now
    if left > EXPIRES_SOON:
        return ()
    return (f"{name}: certificate expires in {left.days} days ({_end(certificate)})",)


def _end(certificate: x509.Certificate) -> str:
    return f"valid until {certificate.not_valid_after_utc.date().isoformat()}"
