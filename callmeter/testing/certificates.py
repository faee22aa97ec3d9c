"""Throw-away authorities and certificates, good ones and all sorts of bad ones."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SIP_DOMAIN", "Authority", "Issued"]

BOTH_ENDS: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
SIP_DOMAIN: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.20")
"""id-kp-sipDomain (RFC 5924 section 3)."""
YEAR: Final = timedelta(days=365)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate with its chain, and its key, as PEM; for `TlsConfig` and for files."""

    certificate: str
    private_key: str


class Authority:
    """A certificate authority that exists as long as the test.

    Args:
        name: Its Common Name.
        issuer: The authority above; None signs itself.
        ends: When it expires, from now on.
        path_length: How many authorities may stand below.
        may_sign: False makes a certificate that is no authority, and signs all the same.
    """

    def __init__(
        self,
        name: str = "callmeter test authority",
        *,
        issuer: Authority | None = None,
        ends: timedelta = 10 * YEAR,
        path_length: int | None = None,
        may_sign: bool = True,
    ) -> None:
        self.key: Key = ec.generate_private_key(ec.SECP256R1())
        self.issuer = issuer
        subject = _common_name(name)
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer is not None else subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 5 * YEAR)
            .not_valid_after(now + ends)
            .add_extension(
                x509.BasicConstraints(ca=may_sign, path_length=path_length), critical=True
            )
        )
        signing_key = self.key if issuer is None else issuer.key
        self.certificate: x509.Certificate = builder.sign(signing_key, hashes.SHA256())

    @property
    def pem(self) -> str:
        """Its certificate."""
        return _pem(self.certificate)

    def issue(
        self,
        *names: str,
        common_name: str | None = None,
        starts: timedelta = -YEAR,
        ends: timedelta = YEAR,
        usages: Sequence[x509.ObjectIdentifier] = BOTH_ENDS,
        key: Key | None = None,
        with_chain: bool = True,
    ) -> Issued:
        """A certificate for `names`.

        Args:
            names: Entries of the subjectAltName: a `sip:` or `sips:` URI, an IP address, or a
                DNS name of whatever shape (`DNS:192.0.2.1` for one that looks like an address);
                without any there is no such extension.
            common_name: Of the subject; None leaves it empty.
            starts: When it becomes valid, from now on.
            ends: When it expires, from now on.
            usages: Extended key usages; empty leaves the extension out.
            key: Its key; None makes one on P-256.
            with_chain: Whether the authorities between it and the root follow in the PEM.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]) if common_name is None else _common_name(common_name))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + starts)
            .not_valid_after(now + ends)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_general_name(each) for each in names])
            builder = builder.add_extension(alternatives, critical=common_name is None)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        private_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = self._chain() if with_chain else ""
        return Issued(_pem(certificate) + chain, private_key.decode())

    def _chain(self) -> str:
        """The certificates of this authority and those above, without the root."""
        return "" if self.issuer is None else self.pem + self.issuer._chain()  # noqa: SLF001  same class


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(text: str) -> x509.GeneralName:
    if text.startswith(("sip:", "sips:", "SIP:")):
        return x509.UniformResourceIdentifier(text)
    if text.startswith("DNS:"):
        return x509.DNSName(text.removeprefix("DNS:"))
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
