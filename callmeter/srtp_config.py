"""Settings of media encryption; `callmeter.config` gives them to everybody else."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum

from callmeter import certificates
from callmeter.errors import ConfigurationError
from callmeter.setting_types import check_types
from callmeter.setting_words import settle

__all__ = [
    "DEFAULT_SUITES",
    "DtlsConfig",
    "SrtpConfig",
    "SrtpMethod",
    "SrtpPolicy",
    "SrtpSuite",
]

MAX_CERTIFICATE_DAYS = 3650
MAX_HANDSHAKE_TIMEOUT = 300


class SrtpMethod(IntEnum):
    """How SRTP keys are exchanged."""

    LEGACY = 0
    """The old name of SDES, kept for old configurations."""
    SDES = 1
    """Keys in a=crypto lines (RFC 4568)."""
    DTLS = 2
    """A DTLS handshake on the media port (RFC 5764)."""
    DUAL = 3
    """Both in one offer; the answerer picks."""

    @property
    def offers_sdes(self) -> bool:
        """Whether a=crypto lines are offered."""
        return self is not SrtpMethod.DTLS

    @property
    def offers_dtls(self) -> bool:
        """Whether a=fingerprint is offered."""
        return self in {SrtpMethod.DTLS, SrtpMethod.DUAL}


class SrtpPolicy(Enum):
    """Whether encryption is compulsory."""

    DISABLED = "disabled"
    """No keys are offered; an offer that insists on SRTP is refused."""
    OFFERED = "offered"
    """Keys are offered; an answer without them falls back to clear media, and says so."""
    REQUIRED = "required"
    """No keys, no call: never a plain packet in either direction."""


class SrtpSuite(StrEnum):
    """SRTP crypto suites by their IANA names (RFC 4568, 6188, 7714)."""

    AES_CM_128_HMAC_SHA1_80 = "AES_CM_128_HMAC_SHA1_80"
    AES_CM_128_HMAC_SHA1_32 = "AES_CM_128_HMAC_SHA1_32"
    AEAD_AES_128_GCM = "AEAD_AES_128_GCM"
    AEAD_AES_256_GCM = "AEAD_AES_256_GCM"
    AES_256_CM_HMAC_SHA1_80 = "AES_256_CM_HMAC_SHA1_80"
    AES_256_CM_HMAC_SHA1_32 = "AES_256_CM_HMAC_SHA1_32"
    AES_192_CM_HMAC_SHA1_80 = "AES_192_CM_HMAC_SHA1_80"
    AES_192_CM_HMAC_SHA1_32 = "AES_192_CM_HMAC_SHA1_32"


DEFAULT_SUITES = (
    SrtpSuite.AES_CM_128_HMAC_SHA1_80,
    SrtpSuite.AES_CM_128_HMAC_SHA1_32,
    SrtpSuite.AEAD_AES_128_GCM,
)


@dataclass(frozen=True, kw_only=True)
class DtlsConfig:
    """DTLS of the media ports (RFC 5763).

    Attributes:
        certificate: PEM content of an own certificate; None makes a P-256 one for each endpoint,
            and another for each `call.rekey()`.
        private_key: PEM content of its key, ECDSA or RSA, not encrypted.
        certificate_days: How long a certificate that is made here is valid.
        handshake_timeout: Seconds until a handshake is given up.
        renegotiation: Whether a peer may renegotiate, for peers that are no WebRTC: RFC 8827
            section 6.5 forbids it there. Otherwise it is told no_renegotiation.
    """

    certificate: str | None = None
    private_key: str | None = field(default=None, repr=False)
    certificate_days: int = 30
    handshake_timeout: float = 30.0
    renegotiation: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        if (self.certificate is None) != (self.private_key is None):
            raise ConfigurationError("certificate and private_key go together")
        if self.certificate is not None and self.private_key is not None:
            found = certificates.check_own_certificate(self.certificate, self.private_key)
            for text in found:
                warnings.warn(text, certificates.CertificateWarning, stacklevel=3)
        if not 1 <= self.certificate_days <= MAX_CERTIFICATE_DAYS:
            raise ConfigurationError(f"certificate_days is 1 to {MAX_CERTIFICATE_DAYS}")
        if not 0 < self.handshake_timeout <= MAX_HANDSHAKE_TIMEOUT:
            raise ConfigurationError(
                f"handshake_timeout is more than 0 and at most {MAX_HANDSHAKE_TIMEOUT} s"
            )


@dataclass(frozen=True, kw_only=True)
class SrtpConfig:
    """Media encryption of one track: two separate settings, method and policy.

    Words will do for members, in either case: `SrtpConfig(method="dtls", policy="required")`.

    Attributes:
        method: How keys are exchanged.
        policy: Whether encryption is compulsory.
        suites: Suites in the order they are offered.
        osrtp: Offer keys under RTP/AVP (RFC 8643) instead of RTP/SAVP.
        unencrypted_srtcp: Ask for SRTCP without encryption (RFC 4568 section 6.3.2).
        dtls: Certificate and patience of DTLS handshakes.
    """

    method: SrtpMethod = SrtpMethod.SDES
    policy: SrtpPolicy = SrtpPolicy.DISABLED
    suites: tuple[SrtpSuite, ...] = DEFAULT_SUITES
    osrtp: bool = False
    unencrypted_srtcp: bool = False
    dtls: DtlsConfig = field(default_factory=DtlsConfig)

    def __post_init__(self) -> None:
        settle(self, method=SrtpMethod, policy=SrtpPolicy, suites=SrtpSuite)
        check_types(self)
        if self.policy is not SrtpPolicy.DISABLED and not self.suites:
            raise ConfigurationError("an SRTP policy other than DISABLED needs a suite")
        if len(set(self.suites)) != len(self.suites):
            raise ConfigurationError("a suite is listed twice")
        if self.osrtp and self.policy is SrtpPolicy.REQUIRED:
            raise ConfigurationError("OSRTP is opportunistic: it cannot be REQUIRED")

    @property
    def enabled(self) -> bool:
        """Whether keys are offered or accepted at all."""
        return self.policy is not SrtpPolicy.DISABLED
