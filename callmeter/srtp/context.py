"""SRTP and SRTCP for one direction of one call (RFC 3711).

Bad packets are everyday life on an open port: they are counted and dropped, never raised.
Header, CSRC and extension lengths are checked here before libsrtp sees a packet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from callmeter.errors import LocalProtocolError, MediaSecurityError
from callmeter.srtp.libsrtp import DOOR
from callmeter.srtp.sdes import ALL_PROTECTED, CryptoLine, MasterKey, SessionParameters
from callmeter.srtp.stream_policy import MAX_TRAILER, MAX_WINDOW, Status, StreamPolicy

if TYPE_CHECKING:
    from callmeter.srtp.protection_profiles import ProtectionProfile
    from callmeter.srtp.stream_policy import Door, Session

__all__ = ["Direction", "KeySet", "SrtpContext", "authenticates"]

Direction = Literal["send", "receive"]
KeySet = tuple["ProtectionProfile", MasterKey, SessionParameters]
"""What DTLS-SRTP gives in place of a line."""

WINDOW: Final = 128
MAX_DATAGRAM: Final = 65_507
MAX_RTCP_LIFETIME: Final = 2**31
MAX_SOURCES: Final = 32
"""Each new SSRC that is authentic costs the session memory for as long as the key lives."""
_VERSION: Final = 2
_FIXED_HEADER: Final = 12
_RTCP_HEADER: Final = 8
_SRTCP_INDEX: Final = 4


class SrtpContext:
    """One session of libsrtp or `software`: one direction of one call, `MAX_SOURCES` SSRCs.

    Attributes:
        line: The keys in use.
        handle: The session for `libsrtp.protect` and its kin in the batch lane. None when
            packets carry an MKI or the suite is done by `software` (use the methods then), and
            after `close()`. A lane must forget the handle before `close()` frees what it points
            to.
        packets: RTP and RTCP packets that went well through the methods.
        auth_failures: RTP packets whose tag was wrong.
        rtcp_auth_failures: RTCP packets whose tag was wrong.
        replayed: Packets seen before, or older than the window.
        encryption_mismatches: RTCP packets in clear where they should not be, or the reverse.
        malformed: Packets too short for what their header says, never shown to the session.
        other_failures: All else, SSRCs over the limit among them.
        last_failure: The status of the last packet that failed, or None.
        restarted: Whether `restart` has replaced the session; whoever keeps handles clears it.
        continues: Whether, as the successor of another key, it carries on the rollover counter
            of that. RFC 3711 section 3.3.1 asks for it, and most of what is deployed starts at 0.

    Args:
        line: An a=crypto line, or profile, master key and session parameters.
        direction: `"send"` protects, `"receive"` unprotects.
        door: The way to libsrtp.

    Raises:
        MediaSecurityError: No session can do what the line asks for.
        LocalProtocolError: The key does not have the length of the suite.
    """

    __slots__ = (
        "_door",
        "_left",
        "_left_rtcp",
        "_mki_length",
        "_outbound",
        "_rtcp_tag",
        "_rtp_tag",
        "_session",
        "_sources",
        "auth_failures",
        "continues",
        "encryption_mismatches",
        "last_failure",
        "line",
        "malformed",
        "other_failures",
        "packets",
        "replayed",
        "restarted",
        "rtcp_auth_failures",
    )

    def __init__(
        self, line: CryptoLine | KeySet, direction: Direction, *, door: Door = DOOR
    ) -> None:
        if not isinstance(line, CryptoLine):
            profile, master, parameters = line
            line = CryptoLine(1, profile, (master,), parameters)
        self.line = line
        self.continues = False
        self.restarted = False
        self._door = door
        self._outbound = direction == "send"
        self._session = _open(line, outbound=self._outbound, door=door)
        profile, parameters = line.profile, line.parameters
        self._rtp_tag = 0 if parameters.unauthenticated_srtp else profile.rtp_tag_length
        self._rtcp_tag = profile.rtcp_tag_length
        self._mki_length = line.keys[0].mki_length
        lifetime = line.keys[0].lifetime
        self._left = lifetime
        self._left_rtcp = min(lifetime or MAX_RTCP_LIFETIME, MAX_RTCP_LIFETIME)
        self._sources: set[bytes] = set()
        self.packets = 0
        self.auth_failures = 0
        self.rtcp_auth_failures = 0
        self.replayed = 0
        self.encryption_mismatches = 0
        self.malformed = 0
        self.other_failures = 0
        self.last_failure: Status | None = None

    def __repr__(self) -> str:
        direction = "send" if self._outbound else "receive"
        return f"<SrtpContext {direction} {self.line.profile.name}>"

    @property
    def handle(self) -> Any:
        """See the class."""
        return self._session.handle

    @property
    def packets_left(self) -> int | None:
        """RTP packets the key may still protect, None when its line set no lifetime."""
        return self._left

    def spend(self, packets: int) -> bool:
        """Count packets the batch lane protected; False when the key's lifetime is over."""
        if self._left is None:
            return True
        self._left = max(0, self._left - packets)
        return self._left > 0

    def protect(self, rtp: bytes) -> bytes | None:
        """Protect an RTP packet; None when it is malformed, repeated, or the key is used up."""
        if not _fits_rtp(rtp, 0) or len(rtp) > MAX_DATAGRAM - MAX_TRAILER:
            self.malformed += 1
            return None
        if self._left == 0:
            self.record(Status.KEY_EXPIRED)
            return None
        status, packet = self._session.protect(rtp)
        if status:
            self.record(status)
            return None
        self.packets += 1
        if self._left is not None:
            self._left -= 1
        return packet

    def unprotect(self, srtp: bytes) -> bytes | None:
        """Check and decrypt an SRTP packet; None when it is not authentic."""
        if not _fits_rtp(srtp, self._rtp_tag + self._mki_length):
            self.malformed += 1
            return None
        source = srtp[8:12]
        if not self._has_room_for(source):
            return None
        status, packet = self._session.unprotect(srtp)
        if status:
            self.record(status)
            return None
        self._sources.add(source)
        self.packets += 1
        return packet

    def protect_rtcp(self, rtcp: bytes) -> bytes | None:
        """Protect a compound RTCP packet; None when it is malformed or the key is used up."""
        if not _fits_rtcp(rtcp, 0) or len(rtcp) > MAX_DATAGRAM - MAX_TRAILER:
            self.malformed += 1
            return None
        if self._left_rtcp == 0:
            self.record(Status.KEY_EXPIRED)
            return None
        status, packet = self._session.protect_rtcp(rtcp)
        if status:
            self.record(status)
            return None
        self.packets += 1
        self._left_rtcp -= 1
        return packet

    def unprotect_rtcp(self, srtcp: bytes) -> bytes | None:
        """Check and decrypt an SRTCP packet; None when it is not authentic."""
        if not _fits_rtcp(srtcp, _SRTCP_INDEX + self._rtcp_tag + self._mki_length):
            self.malformed += 1
            return None
        source = srtcp[4:8]
        if not self._has_room_for(source):
            return None
        status, packet = self._session.unprotect_rtcp(srtcp)
        if status:
            self.record(status, rtcp=True)
            return None
        self._sources.add(source)
        self.packets += 1
        return packet

    def _has_room_for(self, source: bytes) -> bool:
        if source in self._sources or len(self._sources) < MAX_SOURCES:
            return True
        self.record(Status.NO_CTX)
        return False

    def record(self, status: int, *, rtcp: bool = False) -> None:
        """Count one failure, from the methods here or from the batch lane's status octets."""
        self.last_failure = Status(status) if status in _STATUSES else Status.FAIL
        if status == Status.AUTH_FAIL:
            if rtcp:
                self.rtcp_auth_failures += 1
            else:
                self.auth_failures += 1
        elif status in {Status.REPLAY_FAIL, Status.REPLAY_OLD}:
            self.replayed += 1
        elif status == Status.CANT_CHECK and rtcp:
            self.encryption_mismatches += 1
        else:
            self.other_failures += 1

    def roc(self, ssrc: int) -> int | None:
        """Rollover counter of a stream; None when there is none or this build cannot tell."""
        return self._session.roc(ssrc)

    def set_roc(self, ssrc: int, roc: int) -> bool:
        """Join a stream whose sequence numbers wrapped before; False when this build cannot."""
        return self._session.set_roc(ssrc, roc)

    def authentic_under(self, srtp: bytes, roc: int) -> bool:
        """Whether a packet is right under another rollover counter; changes nothing.

        Args:
            srtp: The packet, as it came.
            roc: The counter.
        """
        if not _fits_rtp(srtp, self._rtp_tag + self._mki_length):
            return False
        session = _open(self.line, outbound=False, door=self._door)
        try:
            known = not roc or session.set_roc(int.from_bytes(srtp[8:12], "big"), roc)
            return known and not session.unprotect(srtp)[0]
        finally:
            session.close()

    def restart(self, ssrc: int, roc: int) -> bool:
        """Begin anew under the same key, with a stream at a rollover counter of its own.

        `handle` is another afterwards. What was received before can be received again.

        Args:
            ssrc: Source of the stream.
            roc: Its counter.

        Returns:
            False, and nothing changed, when this build cannot.
        """
        session = _open(self.line, outbound=self._outbound, door=self._door)
        if roc and not session.set_roc(ssrc, roc):
            session.close()
            return False
        self._session.close()
        self._session = session
        self.restarted = True
        return True

    def close(self) -> None:
        """Free the session and its keys. Twice is harmless; afterwards nothing passes."""
        self._session.close()


_STATUSES: Final = frozenset(Status)


def _open(line: CryptoLine, *, outbound: bool, door: Door) -> Session:
    parameters = line.parameters
    for key in line.keys:
        if len(key.key_and_salt) != line.profile.master_length:
            # libsrtp would silently use the first octets of a longer key
            raise LocalProtocolError(
                f"{line.profile.name} needs {line.profile.master_length} octets of key and salt"
            )
    keys = tuple((key.key_and_salt, key.mki_octets) for key in line.keys)
    session = door.open(
        StreamPolicy(
            profile=line.profile,
            keys=keys,
            outbound=outbound,
            window=min(max(WINDOW, parameters.wsh or 0), MAX_WINDOW),
            encrypt_rtp=not parameters.unencrypted_srtp,
            encrypt_rtcp=not parameters.unencrypted_srtcp,
            authenticate_rtp=not parameters.unauthenticated_srtp,
        )
    )
    reason = line.refusal(allowed=parameters, door=door)
    if session is None or reason is not None:
        raise MediaSecurityError(
            f"{line.profile.name} cannot be set up: {reason or 'libsrtp refused the policy'}",
            evidence={"suite": line.profile.name, "door": door.name},
        )
    return session


def _fits_rtp(packet: bytes, trailer: int) -> bool:
    """Version 2; fixed header, CSRCs and extension (RFC 3550 section 5.1) and trailer fit."""
    size = len(packet) - trailer
    if size < _FIXED_HEADER or packet[0] >> 6 != _VERSION:
        return False
    need = _FIXED_HEADER + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10:
        if size < need + 4:
            return False
        need += 4 + 4 * int.from_bytes(packet[need + 2 : need + 4], "big")
    return size >= need


def _fits_rtcp(packet: bytes, trailer: int) -> bool:
    """Version 2; header, SSRC and trailer fit (RFC 3711 section 3.4)."""
    return len(packet) >= _RTCP_HEADER + trailer and packet[0] >> 6 == _VERSION


def authenticates(
    srtp: bytes,
    profile: ProtectionProfile,
    master: MasterKey,
    *,
    roc: int = 0,
    door: Door = DOOR,
) -> bool:
    """Try a packet under a profile, to explain why it failed under the agreed one.

    With `profile.other_tag_length` this tells a peer that uses 32-bit tags where 80 were agreed
    (or the reverse) from one that uses another key.

    Args:
        srtp: The packet that failed.
        profile: What to try.
        master: The key to try; without its MKI.
        roc: Rollover counter of its stream.
        door: The way to libsrtp.
    """
    keys = (profile, MasterKey(master.key_and_salt), ALL_PROTECTED)
    context = SrtpContext(keys, "receive", door=door)
    try:
        if roc and len(srtp) >= _FIXED_HEADER:
            context.set_roc(int.from_bytes(srtp[8:12], "big"), roc)
        return context.unprotect(srtp) is not None
    finally:
        context.close()
