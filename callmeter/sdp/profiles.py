"""RTP profiles of the m= line and how they follow from keying and feedback.

The profile says what was meant; which keys are there says what is done. Peers answer keys of one
kind under the profile of the other, so nothing here infers keys from a profile.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final

from callmeter.sdp.grammar import BLANKS, folded

__all__ = ["Keying", "RtpProfile", "parse_profile", "profile_for"]


class Keying(Enum):
    """How SRTP keys are exchanged for one stream."""

    NONE = "none"
    """No keys: plain RTP."""
    SDES = "sdes"
    """Keys in a=crypto lines (RFC 4568)."""
    DTLS = "dtls"
    """A DTLS handshake on the media port (RFC 5764)."""
    DUAL = "dual"
    """Both are offered; the answerer picks one."""

    @classmethod
    def of(cls, *, sdes: bool, dtls: bool) -> Keying:
        """The keying with these two parts."""
        if sdes:
            return cls.DUAL if dtls else cls.SDES
        return cls.DTLS if dtls else cls.NONE

    @property
    def sdes(self) -> bool:
        """Whether a=crypto lines are part of it."""
        return self in {Keying.SDES, Keying.DUAL}

    @property
    def dtls(self) -> bool:
        """Whether a=fingerprint is part of it."""
        return self in {Keying.DTLS, Keying.DUAL}


class RtpProfile(StrEnum):
    """The protocol of an RTP m= line; the value is its wire text."""

    AVP = "RTP/AVP"
    AVPF = "RTP/AVPF"
    SAVP = "RTP/SAVP"
    SAVPF = "RTP/SAVPF"
    DTLS_SAVP = "UDP/TLS/RTP/SAVP"
    DTLS_SAVPF = "UDP/TLS/RTP/SAVPF"

    @property
    def feedback(self) -> bool:
        """Whether RTCP feedback messages may be sent early (AVPF, RFC 4585)."""
        return self.value.endswith("F")

    @property
    def secure(self) -> bool:
        """Whether the profile asks for SRTP (RFC 3711)."""
        return self not in {RtpProfile.AVP, RtpProfile.AVPF}

    @property
    def dtls(self) -> bool:
        """Whether the profile names DTLS-SRTP (RFC 5764 section 8)."""
        return self in {RtpProfile.DTLS_SAVP, RtpProfile.DTLS_SAVPF}


_BY_KEYING: Final = {
    Keying.NONE: (RtpProfile.AVP, RtpProfile.AVPF),
    Keying.SDES: (RtpProfile.SAVP, RtpProfile.SAVPF),
    Keying.DTLS: (RtpProfile.DTLS_SAVP, RtpProfile.DTLS_SAVPF),
    Keying.DUAL: (RtpProfile.DTLS_SAVP, RtpProfile.DTLS_SAVPF),
}

_PLAIN_TRANSPORTS: Final = ((), ("udp",))
_DTLS_TRANSPORT: Final = ("udp", "tls")
_FAMILY: Final = {
    "avp": (RtpProfile.AVP, RtpProfile.DTLS_SAVP),
    "avpf": (RtpProfile.AVPF, RtpProfile.DTLS_SAVPF),
    "savp": (RtpProfile.SAVP, RtpProfile.DTLS_SAVP),
    "savpf": (RtpProfile.SAVPF, RtpProfile.DTLS_SAVPF),
}


def profile_for(keying: Keying, *, feedback: bool, osrtp: bool = False) -> RtpProfile:
    """The profile an offer states.

    Args:
        keying: Which keys the offer carries.
        feedback: Whether RTCP feedback is wanted (AVPF).
        osrtp: Opportunistic SRTP: RTP/AVP(F) whatever the keys (RFC 8643 section 3.1).
    """
    return _BY_KEYING[Keying.NONE if osrtp else keying][feedback]


def parse_profile(text: str) -> RtpProfile | None:
    """Read the protocol of an m= line by its parts: transport, secure or not, feedback or not.

    Letters may have any case and a lone `UDP/` in front changes nothing. What is not RTP over UDP
    (TCP, UDPTL, SCTP) gives None.
    """
    *transport, rtp, family = ["", *folded(text.strip(BLANKS)).split("/")]
    prefix = tuple(transport[1:])
    profiles = _FAMILY.get(family)
    if rtp != "rtp" or profiles is None:
        return None
    plain, dtls = profiles
    if prefix == _DTLS_TRANSPORT:
        return dtls
    return plain if prefix in _PLAIN_TRANSPORTS else None
