"""SRTP in counter mode without libsrtp (RFC 3711, RFC 6188), for suites it gets wrong or lacks.

AES and HMAC-SHA1 come from the `cryptography` package; key derivation, packet index, replay
window and packet layout are here. One packet at a time: such a session has no handle for batches.
"""

from __future__ import annotations

from dataclasses import replace
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.hmac import HMAC

from callmeter.rtp.header import header_length
from callmeter.srtp.known_answers import answers_as_known
from callmeter.srtp.protection_profiles import SUPPORTED
from callmeter.srtp.stream_policy import MAX_WINDOW, Status

if TYPE_CHECKING:
    from callmeter.config import SrtpSuite
    from callmeter.srtp.stream_policy import Door, Session, StreamPolicy

__all__ = ["SoftwareDoor", "SoftwareSession", "SupplementedDoor"]

MAX_STREAMS: Final = 4096
"""SSRCs one session keeps state for; packets of further ones are refused."""

_RTCP_WINDOW: Final = 128
_SALT_LENGTH: Final = 14
_AUTHENTICATION_KEY_LENGTH: Final = 20
_BLOCK: Final = 16
_RTCP_HEADER: Final = 8
_INDEX_LENGTH: Final = 4
_ENCRYPTED: Final = 1 << 31
_HALF: Final = 1 << 15
_MAX_ROC: Final = (1 << 32) - 1
_MAX_INDEX: Final = (1 << 48) - 1

# key derivation labels, RFC 3711 section 4.3.2: encryption, authentication, salt
_RTP_LABELS: Final = (0, 1, 2)
_RTCP_LABELS: Final = (3, 4, 5)


def _derive(master_key: bytes, master_salt: bytes, label: int, length: int) -> bytes:
    """A session key (RFC 3711 section 4.3.3, RFC 6188 section 3.1), derived once: KDR is 0."""
    x = int.from_bytes(master_salt, "big") ^ label << 48
    prf = Cipher(algorithms.AES(master_key), modes.CTR((x << 16).to_bytes(_BLOCK, "big")))
    return prf.encryptor().update(bytes(length))


class _SessionKeys:
    """The keys of SRTP or of SRTCP under one master key, and what they do to octets."""

    __slots__ = ("_authentication", "_cipher", "_salt")

    def __init__(self, key_and_salt: bytes, labels: tuple[int, int, int]) -> None:
        key, salt = key_and_salt[:-_SALT_LENGTH], key_and_salt[-_SALT_LENGTH:]
        encryption, authentication, salting = labels
        self._cipher = algorithms.AES(_derive(key, salt, encryption, len(key)))
        self._authentication = HMAC(
            _derive(key, salt, authentication, _AUTHENTICATION_KEY_LENGTH),
            SHA1(),  # noqa: S303  HMAC-SHA1 is what RFC 3711 section 4.2.1 asks for
        )
        self._salt = int.from_bytes(_derive(key, salt, salting, _SALT_LENGTH), "big") << 16

    def crypt(self, ssrc: int, index: int, octets: bytes) -> bytes:
        """Encrypt or decrypt (RFC 3711 section 4.1.1)."""
        block = self._salt ^ ssrc << 64 ^ index << 16
        mode = modes.CTR(block.to_bytes(_BLOCK, "big"))
        return Cipher(self._cipher, mode).encryptor().update(octets)

    def tag(self, octets: bytes, length: int) -> bytes:
        """The authentication tag (RFC 3711 section 4.2)."""
        authentication = self._authentication.copy()
        authentication.update(octets)
        return authentication.finalize()[:length]


class _ReplayWindow:
    """Which of the newest packet indices were seen (RFC 3711 section 3.3.2)."""

    __slots__ = ("_seen", "_width", "highest")

    def __init__(self, width: int) -> None:
        self._width = width
        self._seen = 0
        self.highest = -1

    def check(self, index: int) -> Status:
        age = self.highest - index
        if age < 0:
            return Status.OK
        if age >= self._width:
            return Status.REPLAY_OLD
        return Status.REPLAY_FAIL if self._seen >> age & 1 else Status.OK

    def add(self, index: int) -> None:
        age = self.highest - index
        if age >= 0:
            self._seen |= 1 << age
            return
        self.highest = index
        # a shift by the distance of two rollovers would ask for gigabytes
        kept = self._seen << -age if -age < self._width else 0
        self._seen = (kept | 1) & ((1 << self._width) - 1)


class _Stream:
    """What a session knows of one SSRC."""

    __slots__ = ("pending_roc", "rtcp_sent", "rtcp_window", "rtp_window")

    def __init__(self, window: int) -> None:
        self.rtp_window = _ReplayWindow(window)
        self.rtcp_window = _ReplayWindow(_RTCP_WINDOW)
        self.rtcp_sent = 0
        self.pending_roc: int | None = None

    @property
    def roc(self) -> int:
        if self.pending_roc is not None:
            return self.pending_roc
        return max(0, self.rtp_window.highest) >> 16

    def index(self, sequence: int) -> int:
        """The likely index of a packet (RFC 3711 section 3.3.1 and appendix A)."""
        roc, highest = self.roc, self.rtp_window.highest
        if highest < 0 or self.pending_roc is not None:
            return roc << 16 | sequence
        last = highest & 0xFFFF
        if last < _HALF:
            if sequence - last > _HALF and roc:
                roc -= 1
        elif last - _HALF > sequence:
            roc += 1
        return roc << 16 | sequence

    def check(self, index: int) -> Status:
        return Status.KEY_EXPIRED if index > _MAX_INDEX else self.rtp_window.check(index)

    def add(self, index: int) -> None:
        self.rtp_window.add(index)
        self.pending_roc = None


class SoftwareSession:
    """One direction of one call, any SSRC, in counter mode.

    Args:
        policy: Suite, keys, window and what is protected.

    Attributes:
        handle: Always None: the batch lane works on libsrtp's sessions alone.
    """

    __slots__ = ("_keys", "_mki_length", "_policy", "_streams")

    handle: Any = None

    def __init__(self, policy: StreamPolicy) -> None:
        # from here on the master keys are not needed
        self._policy = replace(policy, keys=())
        self._mki_length = len(policy.keys[0][1])
        # by MKI, which is empty where packets carry none; the first protects
        self._keys = {
            mki: (_SessionKeys(key, _RTP_LABELS), _SessionKeys(key, _RTCP_LABELS))
            for key, mki in policy.keys
        }
        self._streams: dict[int, _Stream] = {}

    def protect(self, packet: bytes) -> tuple[int, bytes]:
        """Status and SRTP packet of an RTP packet (RFC 3711 section 3.3)."""
        policy = self._policy
        start = header_length(packet)
        if not self._keys:
            return Status.NO_CTX, b""
        if start is None:
            return Status.PARSE_ERR, b""
        mki, (keys, _) = next(iter(self._keys.items()))
        ssrc = int.from_bytes(packet[8:12], "big")
        stream = self._stream(ssrc)
        if stream is None:
            return Status.ALLOC_FAIL, b""
        index = stream.index(int.from_bytes(packet[2:4], "big"))
        status = stream.check(index)
        if status:
            return status, b""
        stream.add(index)
        self._streams[ssrc] = stream
        if policy.encrypt_rtp:
            packet = packet[:start] + keys.crypt(ssrc, index, packet[start:])
        return Status.OK, packet + mki + self._rtp_tag(keys, packet, index)

    def unprotect(self, packet: bytes) -> tuple[int, bytes]:
        """Status and RTP packet of an SRTP packet (RFC 3711 section 3.3)."""
        policy = self._policy
        if not self._keys:
            return Status.NO_CTX, b""
        tag_length = policy.profile.rtp_tag_length if policy.authenticate_rtp else 0
        covered, mki, tag = self._cut(packet, tag_length)
        start = header_length(covered)
        if start is None:
            return Status.PARSE_ERR, b""
        if mki not in self._keys:
            return Status.BAD_MKI, b""
        keys, _ = self._keys[mki]
        ssrc = int.from_bytes(covered[8:12], "big")
        stream = self._stream(ssrc)
        if stream is None:
            return Status.ALLOC_FAIL, b""
        index = stream.index(int.from_bytes(covered[2:4], "big"))
        status = stream.check(index)
        if status:
            return status, b""
        if not compare_digest(tag, self._rtp_tag(keys, covered, index)):
            return Status.AUTH_FAIL, b""
        # only now: nobody without the key makes or moves a stream
        stream.add(index)
        self._streams[ssrc] = stream
        if policy.encrypt_rtp:
            covered = covered[:start] + keys.crypt(ssrc, index, covered[start:])
        return Status.OK, covered

    def protect_rtcp(self, packet: bytes) -> tuple[int, bytes]:
        """Status and SRTCP packet of a compound RTCP packet (RFC 3711 section 3.4)."""
        policy = self._policy
        if not self._keys:
            return Status.NO_CTX, b""
        if len(packet) < _RTCP_HEADER:
            return Status.PARSE_ERR, b""
        mki, (_, keys) = next(iter(self._keys.items()))
        ssrc = int.from_bytes(packet[4:8], "big")
        stream = self._stream(ssrc)
        if stream is None:
            return Status.ALLOC_FAIL, b""
        index = stream.rtcp_sent + 1
        if index >= _ENCRYPTED:
            return Status.KEY_EXPIRED, b""
        stream.rtcp_sent = index
        self._streams[ssrc] = stream
        word = index
        if policy.encrypt_rtcp:
            word |= _ENCRYPTED
            packet = packet[:_RTCP_HEADER] + keys.crypt(ssrc, index, packet[_RTCP_HEADER:])
        covered = packet + word.to_bytes(_INDEX_LENGTH, "big")
        return Status.OK, covered + mki + keys.tag(covered, policy.profile.rtcp_tag_length)

    def unprotect_rtcp(self, packet: bytes) -> tuple[int, bytes]:
        """Status and compound RTCP packet of an SRTCP packet (RFC 3711 section 3.4)."""
        policy = self._policy
        if not self._keys:
            return Status.NO_CTX, b""
        tag_length = policy.profile.rtcp_tag_length
        covered, mki, tag = self._cut(packet, tag_length)
        if len(covered) < _RTCP_HEADER + _INDEX_LENGTH:
            return Status.PARSE_ERR, b""
        if mki not in self._keys:
            return Status.BAD_MKI, b""
        _, keys = self._keys[mki]
        ssrc = int.from_bytes(covered[4:8], "big")
        word = int.from_bytes(covered[-_INDEX_LENGTH:], "big")
        if bool(word & _ENCRYPTED) is not policy.encrypt_rtcp:
            return Status.CANT_CHECK, b""
        stream = self._stream(ssrc)
        if stream is None:
            return Status.ALLOC_FAIL, b""
        index = word & ~_ENCRYPTED
        status = stream.rtcp_window.check(index)
        if status:
            return status, b""
        if not compare_digest(tag, keys.tag(covered, tag_length)):
            return Status.AUTH_FAIL, b""
        stream.rtcp_window.add(index)
        self._streams[ssrc] = stream
        plain = covered[:-_INDEX_LENGTH]
        if policy.encrypt_rtcp:
            plain = plain[:_RTCP_HEADER] + keys.crypt(ssrc, index, plain[_RTCP_HEADER:])
        return Status.OK, plain

    def roc(self, ssrc: int) -> int | None:
        """Rollover counter of a stream, None when there is no such stream."""
        stream = self._streams.get(ssrc)
        return None if stream is None else stream.roc

    def set_roc(self, ssrc: int, roc: int) -> bool:
        """Let the next packet of a stream have this rollover counter; False for an older one.

        Going back would use key stream twice.
        """
        stream = self._stream(ssrc) if self._keys else None
        if stream is None or not stream.roc <= roc <= _MAX_ROC:
            return False
        if roc > stream.roc:
            stream.pending_roc = roc
        self._streams[ssrc] = stream
        return True

    def close(self) -> None:
        """Let go of the keys; twice is harmless."""
        self._keys = {}
        self._streams = {}

    def _stream(self, ssrc: int) -> _Stream | None:
        """What is known of an SSRC, or a fresh state that the caller keeps when all is well."""
        stream = self._streams.get(ssrc)
        if stream is None and len(self._streams) < MAX_STREAMS:
            return _Stream(self._policy.window)
        return stream

    def _rtp_tag(self, keys: _SessionKeys, covered: bytes, index: int) -> bytes:
        if not self._policy.authenticate_rtp:
            return b""
        roc = (index >> 16).to_bytes(4, "big")
        return keys.tag(covered + roc, self._policy.profile.rtp_tag_length)

    def _cut(self, packet: bytes, tag_length: int) -> tuple[bytes, bytes, bytes]:
        """The covered part of a packet, its MKI and its tag; short packets leave nothing."""
        tag_at = max(0, len(packet) - tag_length)
        mki_at = max(0, tag_at - self._mki_length)
        return packet[:mki_at], packet[mki_at:tag_at], packet[tag_at:]


class SoftwareDoor:
    """Sessions for all counter mode suites, without libsrtp."""

    name = "software"
    whole = True
    suites = frozenset(row.suite for row in SUPPORTED if not row.aead)

    def open(self, policy: StreamPolicy) -> Session | None:
        """A session, or None for a GCM suite, a window or key of a wrong length, a bare OpenSSL."""
        profile = policy.profile
        if profile.suite not in self.suites or not 0 < policy.window <= MAX_WINDOW:
            return None
        if any(len(key) != profile.master_length for key, _ in policy.keys):
            return None
        try:
            return SoftwareSession(policy)
        except UnsupportedAlgorithm:
            return None


class SupplementedDoor:
    """A door to libsrtp, with software for what it cannot do.

    Args:
        native: The door to libsrtp, its `suites` those that passed the known answer test.
    """

    def __init__(self, native: Door) -> None:
        self._native = native
        self._software = SoftwareDoor()
        self._native_suites = native.suites
        self.name = native.name
        self.whole = native.whole
        self.suites: frozenset[SrtpSuite] = native.suites | {
            row.suite
            for row in SUPPORTED
            if row.suite not in native.suites and answers_as_known(self._software, row)
        }

    def open(self, policy: StreamPolicy) -> Session | None:
        """A session, or None when neither libsrtp nor the software takes the policy."""
        if policy.profile.suite in self._native_suites:
            return self._native.open(policy)
        if policy.profile.suite in self.suites:
            return self._software.open(policy)
        return None
