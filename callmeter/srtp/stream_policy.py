"""What is asked of libsrtp or software and what they answer: policies, sessions, statuses.

No native object lives here: `libsrtp` is the only door to those.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from callmeter.config import SrtpSuite
    from callmeter.srtp.protection_profiles import ProtectionProfile

__all__ = [
    "MAX_MASTER_KEYS",
    "MAX_TRAILER",
    "MAX_WINDOW",
    "Door",
    "Session",
    "Status",
    "StreamPolicy",
]

MAX_TRAILER: Final = 16 + 128 + 4
"""Octets a packet may grow by: tag, MKI and SRTCP index."""

MAX_WINDOW: Final = 0x7FFF
"""The widest replay window libsrtp takes."""

MAX_MASTER_KEYS: Final = 16
"""Master keys under one MKI-carrying policy."""


class Status(IntEnum):
    """What became of one packet, in libsrtp's numbers (`srtp_err_status_t`)."""

    OK = 0
    FAIL = 1
    BAD_PARAM = 2
    ALLOC_FAIL = 3
    DEALLOC_FAIL = 4
    INIT_FAIL = 5
    TERMINUS = 6
    AUTH_FAIL = 7
    CIPHER_FAIL = 8
    REPLAY_FAIL = 9
    REPLAY_OLD = 10
    ALGO_FAIL = 11
    NO_SUCH_OP = 12
    NO_CTX = 13
    CANT_CHECK = 14
    """In SRTCP: the packet is in clear and should not be, or the reverse."""
    KEY_EXPIRED = 15
    SOCKET_ERR = 16
    SIGNAL_ERR = 17
    NONCE_BAD = 18
    READ_FAIL = 19
    WRITE_FAIL = 20
    PARSE_ERR = 21
    ENCODE_ERR = 22
    SEMAPHORE_ERR = 23
    PFKEY_ERR = 24
    BAD_MKI = 25
    PKT_IDX_OLD = 26
    PKT_IDX_ADV = 27


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """How one direction is protected.

    Attributes:
        profile: Suite and lengths.
        keys: Master key with salt and, where packets carry one, the MKI's octets.
        outbound: Whether packets are protected (else unprotected).
        window: Packets of the replay window.
        encrypt_rtp: False leaves SRTP payloads in clear (UNENCRYPTED_SRTP).
        encrypt_rtcp: False leaves SRTCP in clear (UNENCRYPTED_SRTCP).
        authenticate_rtp: False leaves the tag out (UNAUTHENTICATED_SRTP).
    """

    profile: ProtectionProfile
    keys: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    outbound: bool
    window: int = 128
    encrypt_rtp: bool = True
    encrypt_rtcp: bool = True
    authenticate_rtp: bool = True

    @property
    def has_mki(self) -> bool:
        """Whether packets carry an MKI."""
        return bool(self.keys[0][1])

    @property
    def usual(self) -> bool:
        """Whether the public class can do it: full protection, one key, no MKI."""
        return (
            self.encrypt_rtp
            and self.encrypt_rtcp
            and self.authenticate_rtp
            and len(self.keys) == 1
            and not self.has_mki
        )


class Session(Protocol):
    """One direction of one call, any SSRC."""

    handle: Any
    """For the batch lane; None once closed, when packets carry an MKI, and for software."""

    def protect(self, packet: bytes) -> tuple[int, bytes]:
        """Status and SRTP packet of an RTP packet."""

    def unprotect(self, packet: bytes) -> tuple[int, bytes]:
        """Status and RTP packet of an SRTP packet."""

    def protect_rtcp(self, packet: bytes) -> tuple[int, bytes]:
        """Status and SRTCP packet of a compound RTCP packet."""

    def unprotect_rtcp(self, packet: bytes) -> tuple[int, bytes]:
        """Status and compound RTCP packet of an SRTCP packet."""

    def roc(self, ssrc: int) -> int | None:
        """Rollover counter of a stream, None when there is no such stream or no way to ask."""

    def set_roc(self, ssrc: int, roc: int) -> bool:
        """Start a stream at this rollover counter; False when this session cannot."""

    def close(self) -> None:
        """Free the keys; twice is harmless."""


class Door(Protocol):
    """A way to make sessions."""

    name: str
    suites: frozenset[SrtpSuite]
    whole: bool
    """Whether MKI, rollover counters and packets in clear can be had."""

    def open(self, policy: StreamPolicy) -> Session | None:
        """Make a session, or None when this door or its library refuses the policy."""
