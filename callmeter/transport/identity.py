"""Whom a certificate names: the identity match of RFC 5922 section 7, with RFC 9525.

The reference is the domain that was asked for before any DNS (RFC 5922 section 4); the chain
has been verified by then.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Identities",
    "Match",
    "MatchKind",
    "canonical_name",
    "match_identity",
    "mismatch",
    "server_name",
]

MAX_NAME: Final = 253
"""The longest domain name (RFC 1035 section 2.3.4), without the trailing dot."""
MAX_SHOWN: Final = 8
"""How many names a message lists."""
LABELS_UNDER_WILDCARD: Final = 2
"""`*.com` stands for nobody's names (RFC 9525 section 7.1)."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class MatchKind(Enum):
    """Which part of a certificate named the peer."""

    URI = "uri"
    DNS = "dns"
    IP = "ip"
    COMMON_NAME = "common_name"


@dataclass(frozen=True, slots=True)
class Match:
    """How a certificate names the peer.

    Attributes:
        kind: The part of the certificate.
        presented: The name as the certificate has it.
    """

    kind: MatchKind
    presented: str

    @property
    def warning(self) -> str | None:
        """What is not as it should be, in words."""
        if self.kind is MatchKind.COMMON_NAME:
            return f"the certificate names {self.presented} in its Common Name only"
        return None


@dataclass(frozen=True, slots=True)
class Identities:
    """What a certificate says about its owner.

    Attributes:
        domains: Hosts of `sip:` URIs without a user part (RFC 5922 section 7.1).
        dns: DNS names.
        addresses: IP addresses.
        common_names: Common Names of the subject.
        has_alternatives: Whether there is a subjectAltName, of whatever type.
    """

    domains: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    common_names: tuple[str, ...] = ()
    has_alternatives: bool = False

    @classmethod
    def of(cls, certificate: bytes) -> Identities:
        """Read them from a certificate.

        Args:
            certificate: DER.

        Raises:
            ValueError: It is no certificate, or its subjectAltName cannot be read.
        """
        parsed = x509.load_der_x509_certificate(certificate)
        common_names = tuple(
            attribute.value if isinstance(attribute.value, str) else repr(attribute.value)
            for attribute in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        )
        try:
            found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return cls(common_names=common_names)
        uris = found.get_values_for_type(x509.UniformResourceIdentifier)
        return cls(
            domains=tuple(host for uri in uris if (host := _sip_domain(uri)) is not None),
            dns=tuple(found.get_values_for_type(x509.DNSName)),
            addresses=tuple(
                each
                for each in found.get_values_for_type(x509.IPAddress)
                if isinstance(each, Address)
            ),
            common_names=common_names,
            has_alternatives=True,
        )

    @property
    def sip(self) -> tuple[str, ...]:
        """The SIP domain identities: DNS names count where no `sip:` URI does (RFC 5922 7.1)."""
        return self.domains or self.dns

    def __str__(self) -> str:
        """What it is valid for, in words; what does not count is left out, or explained."""
        names = [f"sip:{each}" for each in self.domains]
        if not names:
            names = [f"{n} (as a DNS name)" if _address(n) else n for n in self.dns]
        names += map(str, self.addresses)
        if not self.has_alternatives:
            names += (f"{each} (Common Name only)" for each in self.common_names)
        return _list(names)


def canonical_name(name: str) -> str | None:
    """A domain name or IP address as it is compared; None for what is neither.

    Lower case, without trailing dot and brackets, in A-labels (RFC 9525 section 6.3).
    """
    address = _address(name)
    if address is not None:
        return str(address)
    name = name.removesuffix(".")
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    if not 0 < len(name) <= MAX_NAME or not all(map(_is_label, name.split("."))):
        return None
    return name.lower()


def server_name(name: str) -> str | None:
    """What to put into SNI: a domain in A-labels, never an address (RFC 6066 section 3)."""
    canonical = canonical_name(name)
    return None if canonical is None or _address(canonical) is not None else canonical


def match_identity(
    certificate: bytes, name: str, *, allow_common_name: bool, strict_wildcards: bool = False
) -> Match | None:
    """Whether a certificate names the peer that was asked for.

    Args:
        certificate: DER.
        name: Domain name or IP address.
        allow_common_name: Look at the Common Name when there is no subjectAltName at all: for
            private authorities (RFC 9525 section 2 has none of it).
        strict_wildcards: Take no wildcard (RFC 5922 section 7.2).

    Raises:
        ValueError: The certificate cannot be read.
    """
    wanted = canonical_name(name)
    if wanted is None:
        return None
    found = Identities.of(certificate)
    address = _address(wanted)
    for domain in found.domains:
        if canonical_name(domain) == wanted:
            return Match(MatchKind.URI, domain)
    if address is not None:
        if address in found.addresses:
            return Match(MatchKind.IP, wanted)
        return None
    if not found.domains:
        for presented in found.dns:
            if _names(presented, wanted, strict_wildcards=strict_wildcards):
                return Match(MatchKind.DNS, presented)
    if allow_common_name and not found.has_alternatives:
        for presented in found.common_names:
            if _names(presented, wanted, strict_wildcards=strict_wildcards):
                return Match(MatchKind.COMMON_NAME, presented)
    return None


def mismatch(certificate: bytes, name: str) -> str:
    """The words for a certificate of somebody else: `certificate is valid for X, not Y`."""
    try:
        valid_for = str(Identities.of(certificate))
    except ValueError:
        return f"certificate cannot be read, and does not name {_plain(name)}"
    return f"certificate is valid for {valid_for or 'no name'}, not {_plain(name)}"


def _names(presented: str, wanted: str, *, strict_wildcards: bool) -> bool:
    """Whether a presented DNS name, or a wildcard, stands for `wanted`."""
    if not presented.startswith("*."):
        return canonical_name(presented) == wanted and _address(presented) is None
    if strict_wildcards:
        return False
    parent = canonical_name(presented[2:])
    if parent is None or parent.count(".") + 1 < LABELS_UNDER_WILDCARD:
        return False
    return wanted.partition(".")[2] == parent


def _sip_domain(uri: str) -> str | None:
    """The host of a `sip:` URI that has no user part."""
    scheme, _, rest = uri.partition(":")
    if scheme.lower() != "sip" or not uri.isascii() or "@" in rest:
        return None
    host = rest.partition(";")[0].partition("?")[0]
    closing = host.find("]") + 1 if host.startswith("[") else host.find(":")
    if closing > 0:
        host = host[:closing]
    return host if canonical_name(host) is not None else None


def _address(text: str) -> Address | None:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if "%" in text:
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_label(label: str) -> bool:
    """Letters, digits, hyphen, and the underscore that is met in the field; no NUL."""
    return 0 < len(label) <= 63 and label.replace("-", "a").replace("_", "a").isalnum()  # noqa: PLR2004  RFC 1035 section 2.3.4


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(_plain(each) for each in names[:MAX_SHOWN])
    more = len(names) - MAX_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _plain(name: str) -> str:
    """A name for a message: what a peer wrote may hold anything."""
    if len(name) > MAX_NAME:
        name = f"{name[:MAX_NAME]}..."
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)
