"""SRTP protection profiles: key, salt and tag lengths of every suite callmeter speaks.

RFC 4568 section 6.2 (AES_CM_128), RFC 6188 section 4 (AES-192 and AES-256 counter mode) and
RFC 7714 section 12 (AEAD). The suites ending in `_32` shorten the tag of RTP only: SRTCP keeps
its 80 bits (RFC 3711 section 5.2, RFC 4568 section 6.2.2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from callmeter.config import SrtpSuite

__all__ = ["SUPPORTED", "ProtectionProfile", "for_dtls", "for_suite", "profile"]


@dataclass(frozen=True, slots=True)
class ProtectionProfile:
    """One row of the suite table; all lengths in octets.

    Attributes:
        suite: Its IANA name.
        key_length: Master key.
        salt_length: Master salt.
        rtp_tag_length: Authentication tag of an SRTP packet.
        rtcp_tag_length: Authentication tag of an SRTCP packet.
        dtls_id: Number in the use_srtp extension (RFC 5764 section 4.1.2), None if it has none.
        openssl_name: What OpenSSL calls it in `set_tlsext_use_srtp`, None if it does not know it.
        aead: Whether it is a GCM suite (RFC 7714).
    """

    suite: SrtpSuite
    key_length: int
    salt_length: int
    rtp_tag_length: int
    rtcp_tag_length: int
    dtls_id: int | None = None
    openssl_name: str | None = None
    aead: bool = False

    @property
    def name(self) -> str:
        """IANA name, as it stands in a=crypto."""
        return self.suite.value

    @property
    def master_length(self) -> int:
        """Octets of master key and salt together: what an inline key decodes to."""
        return self.key_length + self.salt_length

    @property
    def other_tag_length(self) -> ProtectionProfile | None:
        """The suite with the same cipher and the other RTP tag length, None for GCM."""
        for other in SUPPORTED:
            same_cipher = (other.key_length, other.aead) == (self.key_length, False)
            if same_cipher and not self.aead and other is not self:
                return other
        return None


SUPPORTED: Final = (
    ProtectionProfile(
        SrtpSuite.AES_CM_128_HMAC_SHA1_80, 16, 14, 10, 10, 1, "SRTP_AES128_CM_SHA1_80"
    ),
    ProtectionProfile(
        SrtpSuite.AES_CM_128_HMAC_SHA1_32, 16, 14, 4, 10, 2, "SRTP_AES128_CM_SHA1_32"
    ),
    ProtectionProfile(
        SrtpSuite.AEAD_AES_128_GCM, 16, 12, 16, 16, 7, "SRTP_AEAD_AES_128_GCM", aead=True
    ),
    ProtectionProfile(
        SrtpSuite.AEAD_AES_256_GCM, 32, 12, 16, 16, 8, "SRTP_AEAD_AES_256_GCM", aead=True
    ),
    ProtectionProfile(SrtpSuite.AES_256_CM_HMAC_SHA1_80, 32, 14, 10, 10),
    ProtectionProfile(SrtpSuite.AES_256_CM_HMAC_SHA1_32, 32, 14, 4, 10),
    ProtectionProfile(SrtpSuite.AES_192_CM_HMAC_SHA1_80, 24, 14, 10, 10),
    ProtectionProfile(SrtpSuite.AES_192_CM_HMAC_SHA1_32, 24, 14, 4, 10),
)
"""Every suite callmeter knows; `libsrtp.supported_suites()` says what this build can do."""

_BY_SUITE: Final = {row.suite: row for row in SUPPORTED}

_COUNTER_MODE: Final = re.compile(
    r"AES_(?:CM_(?P<after>128|192|256)|(?P<before>128|192|256)_CM)_HMAC_SHA1_(?P<tag>80|32)"
)
_COUNTER_MODE_NAMES: Final = {
    "128": "AES_CM_128_HMAC_SHA1_",
    "192": "AES_192_CM_HMAC_SHA1_",
    "256": "AES_256_CM_HMAC_SHA1_",
}


def for_suite(suite: SrtpSuite) -> ProtectionProfile:
    """The row of a suite."""
    return _BY_SUITE[suite]


def for_dtls(dtls_id: int) -> ProtectionProfile | None:
    """The row of a use_srtp protection profile number, None for one callmeter does not know."""
    return next((row for row in SUPPORTED if row.dtls_id == dtls_id), None)


def profile(suite_name: str) -> ProtectionProfile | None:
    """Find a suite by the name in an a=crypto line.

    Case does not matter, and the key size may stand on either side of `CM`: RFC 4568 writes
    AES_CM_128, RFC 6188 writes AES_256_CM, and phones mix them up in both directions.

    Args:
        suite_name: The second field of the line.

    Returns:
        The row, or None: F8, the withdrawn 8-octet GCM tags and the NULL ciphers among others.
    """
    if not suite_name.isascii():
        return None
    name = suite_name.upper()
    if match := _COUNTER_MODE.fullmatch(name):
        name = _COUNTER_MODE_NAMES[match["after"] or match["before"]] + match["tag"]
    return next((row for row in SUPPORTED if row.suite.value == name), None)
