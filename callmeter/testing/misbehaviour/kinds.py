"""What a misbehaving endpoint can do wrong, one thing each."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self

__all__ = ["Misbehaviour"]


class Misbehaviour(StrEnum):
    """One thing that is done wrong.

    Attributes:
        does: What it is, as the end of a sentence that begins with "the endpoint".
        amount: How much of it, where there is a measure: octets, seconds, packets or a number.
    """

    does: str
    amount: float

    def __new__(cls, value: str, does: str, amount: float = 0) -> Self:
        """Make a member of its identifier, its description and its usual amount."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.does = does
        member.amount = amount
        return member

    # what the descriptions say
    WRONG_FINGERPRINT = "wrong_fingerprint", "names another certificate in a=fingerprint"
    MISSING_FINGERPRINT = "missing_fingerprint", "says UDP/TLS/RTP/SAVP without a=fingerprint"
    ALTERED_KEY = "altered_key", "has one character of each inline key altered on the way"
    TRUNCATED_KEY = "truncated_key", "has each inline key cut by `amount` characters", 4
    UNPADDED_KEY = "unpadded_key", "leaves out the padding of each inline key"
    MISSPELT_SUITE = "misspelt_suite", "writes AES_CM_256_HMAC_SHA1_80 for AES_256_CM_HMAC_SHA1_80"
    WRONG_PROFILE = "wrong_profile", "says UDP/TLS/RTP/SAVP with a=crypto lines alone"
    CONTENT_LENGTH = (
        "content_length",
        "has a Content-Length that is wrong by `amount` octets, as behind a SIP ALG",
        -6,
    )
    LARGE_MESSAGES = "large_messages", "sends descriptions with `amount` octets too many", 1300
    LATE_ANSWER = "late_answer", "sends media long before its answer: `amount` copies are lost", 2

    # DTLS
    BOTH_ACTIVE = "both_active", "answers a=setup:passive and starts the DTLS handshake"
    BOTH_PASSIVE = "both_passive", "says a=setup:active and never starts the DTLS handshake"
    DROPPED_FLIGHT = "dropped_flight", "loses its DTLS flight number `amount`, each time", 2
    LATE_HANDSHAKE = "late_handshake", "sends no DTLS for `amount` seconds", 2.5

    # SRTP and SRTCP
    OTHER_TAG_LENGTH = "other_tag_length", "uses 32-bit tags where 80 were agreed, or the reverse"
    PLAIN_MEDIA = "plain_media", "agrees to SRTP and sends plain RTP and RTCP"
    SECURE_MEDIA = "secure_media", "agrees to plain RTP and sends SRTP"
    CLEAR_SRTCP = "clear_srtcp", "sends plain RTCP beside SRTP"
    OTHER_SRTCP_ENCRYPTION = (
        "other_srtcp_encryption",
        "encrypts SRTCP where UNENCRYPTED_SRTCP was agreed, or the reverse",
    )
    SHORT_SRTCP_TAGS = "short_srtcp_tags", "shortens the tag of SRTCP to that of RTP"
    IGNORED_REKEY = "ignored_rekey", "announces a new key in a re-INVITE and keeps the old one"
    RESET_ROC = "reset_roc", "resets its rollover counter when the sequence numbers wrap"
    KEPT_ROC = "kept_roc", "begins a new key with a rollover counter of 1"
    UNANNOUNCED_MKI = "unannounced_mki", "sends packets with an MKI that it did not announce"
    MISSING_MKI = "missing_mki", "announces an MKI and sends packets without"
    EXPIRED_LIFETIME = (
        "expired_lifetime",
        "announces a lifetime of 2^`amount` packets and goes on beyond it",
        5,
    )

    # media
    ONE_WAY = "one_way", "receives audio and sends none"
    SENDS_NOTHING = "sends_nothing", "sends neither audio nor RTCP"
    SILENT_AUDIO = "silent_audio", "sends digital silence"


SUITE_SPELLING: Final = ("AES_256_CM_HMAC_SHA1_80", "AES_CM_256_HMAC_SHA1_80")
"""As RFC 6188 has it, and as some write it."""
